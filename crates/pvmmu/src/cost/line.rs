//! Fixed part and part per operation.

use serde::Serialize;

/// The straight line through costs by number of operations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Line {
    /// What no operation at all would cost.
    pub(super) fixed: f64,
    /// What each costs.
    pub(super) per_operation: f64,
    /// How far a cost is from the line at most; 0 where all lie on it exactly.
    pub(super) deviation: f64,
}

impl Line {
    /// The line through `points` (number, cost): the one they lie on where there is one, else the one with
    /// the smallest squares. `None` for fewer than two numbers, which lie on any.
    pub(super) fn through(points: &[(u64, u64)]) -> Option<Self> {
        let (first, rest) = points.split_first()?;
        let last = rest.iter().rfind(|point| point.0 != first.0)?;
        let (fixed, per_operation) = exact(points, *first, *last).unwrap_or_else(|| least_squares(points));
        let off = |(number, cost): &(u64, u64)| (*cost as f64 - fixed - per_operation * *number as f64).abs();
        let deviation = points.iter().map(off).fold(0.0, f64::max);
        // What is left of an exact line is the rounding of its parts.
        let deviation = if deviation < 1e-6 { 0.0 } else { deviation };
        Some(Self { fixed, per_operation, deviation })
    }
}

fn exact(points: &[(u64, u64)], first: (u64, u64), last: (u64, u64)) -> Option<(f64, f64)> {
    let difference = |a: u64, b: u64| i128::from(b) - i128::from(a);
    let (run, rise) = (difference(first.0, last.0), difference(first.1, last.1));
    let lies = |point: &(u64, u64)| difference(first.1, point.1) * run == difference(first.0, point.0) * rise;
    let per_operation = rise as f64 / run as f64;
    points.iter().all(lies).then_some((first.1 as f64 - per_operation * first.0 as f64, per_operation))
}

fn least_squares(points: &[(u64, u64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |of: fn(&(u64, u64)) -> u64| points.iter().map(|point| of(point) as f64).sum::<f64>() / count;
    let (number, cost) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 as f64 - number).powi(2)).sum();
    let slope = points.iter().map(|point| (point.0 as f64 - number) * (point.1 as f64 - cost)).sum::<f64>() / spread;
    (cost - slope * number, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_on_a_line_give_it_exactly() {
        let line = Line::through(&[(1, 885), (2, 1_381), (512, 254_341)]).unwrap();
        assert_eq!(line, Line { fixed: 389.0, per_operation: 496.0, deviation: 0.0 });
    }

    #[test]
    fn one_cost_off_the_line_is_seen() {
        let line = Line::through(&[(1, 885), (2, 1_382), (512, 254_341)]).unwrap();
        assert!(line.deviation > 0.4 && line.deviation < 1.0, "{line:?}");
        assert!((line.per_operation - 496.0).abs() < 0.1, "{line:?}");
    }

    #[test]
    fn one_number_is_no_line() {
        assert_eq!(Line::through(&[(1, 885)]), None);
        assert_eq!(Line::through(&[]), None);
        assert_eq!(Line::through(&[(1, 885), (1, 886)]), None);
    }
}
