//! The figures as one page, with plots.

use anyhow::{Result, anyhow};
use maud::{PreEscaped, html};
use plotters::prelude::{
    BLACK, ChartBuilder, IntoDrawingArea, IntoLogRange, LineSeries, PathElement, RGBColor, SVGBackend, WHITE,
};

use super::Growth;
use crate::page::{heading, page};

/// A line of a plot.
struct Line<'l> {
    name: &'l str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

const OWN: RGBColor = RGBColor(0x18, 0x88, 0x60);
const OTHER: RGBColor = RGBColor(0x60, 0x70, 0xa0);
const SIZE: (u32, u32) = (760, 360);

/// The page.
///
/// # Errors
/// A plot cannot be drawn.
pub(super) fn of(growth: &Growth) -> Result<String> {
    let each = growth.updates.iter().map(|size| (size.updates as f64, size.cost_per_update)).collect();
    let each = Line { name: "a region", colour: OWN, points: each };
    let column = |name, colour, of: fn(&super::Busy) -> f64| {
        let points = growth.vcpus.iter().map(|busy| (busy.vcpus as f64, of(busy) / 1e6)).collect();
        Line { name, colour, points }
    };
    let on_mock = column("mock", OTHER, |busy| busy.mock);
    let on_null = column("null", OWN, |busy| busy.null);
    let plots = [
        plot(&format!("{} for each update, by the size of a region", growth.unit), &[each])?,
        plot("millions of updates a second on the mock, by vCPUs", &[on_mock])?,
        plot("the same on a hypervisor that does nothing", &[on_null])?,
    ];
    let facts = [format!("regions on {}", growth.on), format!("vCPUs as threads on {} processors", growth.processors)];
    let body = html! {
        (heading("How cost grows", "Regions and vCPUs", None, &facts))
        @for plot in plots { div.plot { (PreEscaped(plot)) } }
        pre { (growth.text()) }
    };
    Ok(page("pvmmu scale", &body))
}

/// Lines over a logarithmic axis, from 0 up.
fn plot(title: &str, lines: &[Line<'_>]) -> Result<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let right = points().map(|point| point.0).fold(1.0, f64::max);
    let top = points().map(|point| point.1).fold(0.0, f64::max) * 1.1;
    let mut svg = String::new();
    draw(&mut svg, title, lines, (right, top))
        .map_err(|error| anyhow!("the plot `{title}` cannot be drawn: {error}"))?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    title: &str,
    lines: &[Line<'_>],
    (right, top): (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d((1.0..right).log_scale(), 0.0..top)?;
    chart.configure_mesh().light_line_style(WHITE).axis_style(BLACK).draw()?;
    for line in lines {
        let (colour, points) = (line.colour, line.points.iter().copied());
        chart
            .draw_series(LineSeries::new(points, &colour).point_size(3))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    area.present()?;
    Ok(())
}
