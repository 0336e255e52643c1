//! What is wrong with a configuration: every finding, each with its place.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};

/// Two places that are further apart than this are not shown together.
const LINES_IN_A_PICTURE: usize = 8;

/// A range of bytes in one of the files that are loaded together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Index of the file.
    pub(super) file: usize,
    /// First byte.
    pub(super) start: usize,
    /// Bytes.
    pub(super) len: usize,
}

/// A place in a document: where it is written, and the path from the document's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) span: Span,
    pub(super) path: Arc<str>,
}

impl Site {
    /// The place of something inside this one that is not written: it is shown at this one.
    pub(super) fn inside(&self, name: &str) -> Self {
        Self {
            span: self.span,
            path: join(&self.path, name),
        }
    }
}

/// The path of a field within `parent`.
pub(super) fn join(parent: &str, name: &str) -> Arc<str> {
    if parent.is_empty() {
        name.into()
    } else {
        format!("{parent}.{name}").into()
    }
}

/// A finding while files are being read, before its place has become a line and a column.
#[derive(Debug)]
pub(super) struct Finding {
    site: Site,
    message: String,
    help: Option<String>,
    also: Option<(Span, &'static str)>,
}

impl Finding {
    /// What to do about it.
    pub(super) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// A second place that has to do with it.
    pub(super) fn also(&mut self, site: &Site, label: &'static str) -> &mut Self {
        self.also = Some((site.span, label));
        self
    }
}

/// Collects what is found.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// Records a finding. The message completes "this …" and says what was expected and what is there.
    pub(super) fn add(&mut self, site: &Site, message: impl Into<String>) -> &mut Finding {
        self.0.push(Finding {
            site: site.clone(),
            message: message.into(),
            help: None,
            also: None,
        });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives every finding its line and column, in the order of files and lines.
    pub(super) fn into_problems(mut self, files: &[Arc<NamedSource<String>>]) -> Vec<Problem> {
        self.0
            .sort_by_key(|finding| (finding.site.span.file, finding.site.span.start));
        let place = |finding: Finding| Problem::place(finding, files);
        self.0.into_iter().filter_map(place).collect()
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    file: PathBuf,
    place: Option<Box<Place>>,
    path: Arc<str>,
    message: String,
    help: Option<String>,
}

#[derive(Clone, Debug)]
struct Place {
    source: Arc<NamedSource<String>>,
    line: usize,
    column: usize,
    labels: Vec<LabeledSpan>,
}

impl Problem {
    /// A problem with a file as a whole.
    pub(super) fn of_file(file: PathBuf, message: String, help: &str) -> Self {
        Self {
            file,
            place: None,
            path: "".into(),
            message,
            help: Some(help.to_owned()),
        }
    }

    fn place(finding: Finding, files: &[Arc<NamedSource<String>>]) -> Option<Self> {
        let Span { file, start, len } = finding.site.span;
        let source = files.get(file)?.clone();
        let text = source.inner();
        let (line, column) = line_and_column(text, start);
        let mut labels = vec![LabeledSpan::new_primary_with_span(None, (start, len))];
        let mut message = finding.message;
        if let Some((span, label)) = finding.also {
            let lines = |other: &str| other.matches('\n').count();
            let between = text.get(span.start.min(start)..span.start.max(start));
            if span.file == file && between.map_or(0, lines) <= LINES_IN_A_PICTURE {
                let label = Some(label.to_owned());
                labels.push(LabeledSpan::new_with_span(label, (span.start, span.len)));
            } else if let Some(other) = files.get(span.file) {
                // What does not fit one picture is told in words.
                let (line, column) = line_and_column(other.inner(), span.start);
                message = format!("{message} ({label}: {}:{line}:{column})", other.name());
            }
        }
        Some(Self {
            file: source.name().into(),
            place: Some(Box::new(Place {
                source,
                line,
                column,
                labels,
            })),
            path: finding.site.path,
            message,
            help: finding.help,
        })
    }

    /// The file, named as it was given.
    pub fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// Line and column, both from 1; the column counts characters. None: it is about the file as a whole.
    pub fn line_and_column(&self) -> Option<(usize, usize)> {
        self.place.as_ref().map(|place| (place.line, place.column))
    }

    /// The path from the document's root, such as `steps[0].limits.memory`; empty at the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong, without its place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// Both from 1; the column counts characters.
fn line_and_column(text: &str, start: usize) -> (usize, usize) {
    let before = text.get(..start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// `message`, after the path it is about.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_none() {
            write!(f, "{}: ", self.file.display())?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|place| &*place.source as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.as_ref()?;
        Some(Box::new(place.labels.iter().cloned()))
    }
}

/// Everything that is wrong with the files that were loaded together; at least one problem.
#[derive(Clone, Debug)]
pub struct Problems(pub(super) Vec<Problem>);

impl Problems {
    /// Each of them, by file and line.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// All of them for a person, each with the lines it is about. `colour` is for terminals.
    pub fn render(&self, colour: bool, width: usize) -> String {
        let theme = if colour {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(width);
        let mut out = String::new();
        for problem in &self.0 {
            // Writing to a string does not fail; a problem that cannot be drawn is still told.
            if handler.render_report(&mut out, problem).is_err() {
                out.push_str(&problem.to_string());
            }
            out.push('\n');
        }
        let ending = if self.0.len() == 1 { "" } else { "s" };
        out + &format!("{} problem{ending}\n", self.0.len())
    }
}

/// One line each: `file:line:column: path: message`, and the help in brackets.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            if let Some((line, column)) = problem.line_and_column() {
                write!(f, "{}:{line}:{column}: ", problem.file.display())?;
            }
            write!(f, "{problem}")?;
            if let Some(help) = &problem.help {
                write!(f, " ({help})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
