//! What a page shows: its blocks of code with the marks in front of them, commands in its text, links.
//!
//! Also compiled into the build script, which makes tests of the Rust blocks.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// A block of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The line of its fence, from 1.
    pub line: usize,
    /// What the fence says: a language, and for Rust how it is tested.
    pub info: String,
    /// The code.
    pub code: String,
    /// The HTML comment right in front of it, which readers of the page do not see: its mark.
    pub mark: Option<String>,
}

/// Something else that can be wrong, and the line it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The line, from 1.
    pub line: usize,
    /// The text.
    pub text: String,
}

/// A document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Its path, from the root of the repository.
    pub path: PathBuf,
    /// Its blocks of code.
    pub blocks: Vec<Block>,
    /// Code within its text.
    pub spans: Vec<Span>,
    /// Where its links lead.
    pub links: Vec<Span>,
}

impl Page {
    /// What `text`, found at `path`, shows.
    #[must_use]
    pub fn parse(path: impl Into<PathBuf>, text: &str) -> Self {
        let mut page = Self { path: path.into(), ..Self::default() };
        let (mut mark, mut block) = (None, None);
        for (event, range) in Parser::new_ext(text, pulldown_cmark::Options::ENABLE_TABLES).into_offset_iter() {
            let line = line_of(text, &range);
            match event {
                Event::Html(html) => mark.get_or_insert_with(String::new).push_str(&html),
                Event::Start(Tag::CodeBlock(kind)) => {
                    block = Some(Block { line, info: info(kind), code: String::new(), mark: mark.take() });
                }
                Event::Text(code) if block.is_some() => block.iter_mut().for_each(|block| block.code.push_str(&code)),
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Code(code) => page.spans.push(Span { line, text: code.into_string() }),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(Span { line, text: dest_url.into_string() });
                }
                Event::Start(Tag::Paragraph | Tag::Heading { .. } | Tag::Table(_) | Tag::List(_)) => mark = None,
                _ => {}
            }
        }
        page
    }
}

fn line_of(text: &str, range: &Range<usize>) -> usize {
    text[..range.start].matches('\n').count() + 1
}

fn info(kind: CodeBlockKind<'_>) -> String {
    match kind {
        CodeBlockKind::Fenced(info) => info.into_string(),
        CodeBlockKind::Indented => String::new(),
    }
}

impl Block {
    /// Its language.
    #[must_use]
    pub fn language(&self) -> &str {
        self.info.split(',').next().unwrap_or_default()
    }

    /// The code, with lines that end in a backslash joined to the next.
    #[must_use]
    pub fn joined(&self) -> String {
        self.code.replace("\\\n", " ")
    }

    /// What the mark says of `word`: what follows it.
    #[must_use]
    pub fn marked(&self, word: &str) -> Option<&str> {
        let inner = self.mark.as_deref()?.trim().strip_prefix("<!--")?.strip_suffix("-->")?;
        let said = inner.trim_start_matches(' ').strip_prefix(word)?;
        (said.is_empty() || said.starts_with([' ', ':', '\n'])).then(|| said.trim_start_matches([' ', ':']).trim_end())
    }

    /// Its Rust as a test of `rustdoc`'s: the code, with what its mark sets up around it. `None` for a block that is not
    /// tested this way.
    #[must_use]
    pub fn doctest(&self) -> Option<String> {
        let is_tested = self.language() == "rust" && self.marked("untested").is_none() && self.marked("file").is_none();
        let (before, behind) = match self.marked("setup").unwrap_or_default().split_once("\n...\n") {
            Some(around) => around,
            None => (self.marked("setup").unwrap_or_default(), ""),
        };
        is_tested.then(|| format!("```{}\n{}{}{behind}\n```\n", self.info, hidden(before), self.code))
    }
}

/// The set-up is on lines of its own.
fn hidden(before: &str) -> String {
    if before.is_empty() { String::new() } else { format!("{}\n", before.trim_matches('\n')) }
}

/// Every page below `root`, by path.
///
/// # Errors
/// A folder or page that cannot be read.
pub fn pages(root: &Path) -> io::Result<Vec<Page>> {
    let mut found = Vec::new();
    collect(root, root, &mut found)?;
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// What is built, saved or planted is no document.
const LEFT_OUT: [&str; 3] = ["target", "planted", "corpus"];

fn collect(root: &Path, folder: &Path, found: &mut Vec<Page>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))?;
        if entry.is_dir() && !name.starts_with('.') && !LEFT_OUT.contains(&&*name) {
            collect(root, &entry, found)?;
        } else if name.ends_with(".md") {
            found.push(Page::parse(entry.strip_prefix(root).unwrap_or(&entry), &fs::read_to_string(&entry)?));
        }
    }
    Ok(())
}

/// The doctests of `pages`, as the source of modules named by page and line.
#[must_use]
pub fn doctests(pages: &[Page]) -> String {
    let mut source = String::new();
    for page in pages {
        let name =
            page.path.with_extension("").to_string_lossy().to_lowercase().replace(|c: char| !c.is_alphanumeric(), "_");
        for (line, test) in page.blocks.iter().filter_map(|block| Some((block.line, block.doctest()?))) {
            source += &format!("#[doc = {test:?}]\n#[allow(missing_docs)]\npub mod {name}_line_{line} {{}}\n");
        }
    }
    source
}
