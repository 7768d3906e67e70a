//! What a browser and a reader of Markdown make of a page.

use std::collections::{BTreeMap, BTreeSet};

use html5gum::{Token, Tokenizer};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// A page of HTML, taken apart.
#[derive(Default)]
pub(crate) struct Html {
    /// Elements in their order, with their attributes.
    pub(crate) elements: Vec<(String, BTreeMap<String, String>)>,
    /// All text but the style.
    pub(crate) text: String,
    pub(crate) title: String,
}

/// Elements that have no end.
const VOID: [&str; 1] = ["meta"];

/// All that a page is made of.
const ELEMENTS: &[&str] = &[
    "a", "article", "bdi", "body", "caption", "code", "dd", "details", "div", "dl", "dt", "footer", "h1",
    "h2", "h3", "h4", "head", "header", "html", "li", "main", "meta", "nav", "p", "section", "span",
    "strong", "style", "summary", "table", "tbody", "td", "th", "thead", "time", "title", "tr", "ul",
];
const ATTRIBUTES: &[&str] = &[
    "aria-hidden",
    "aria-label",
    "aria-labelledby",
    "charset",
    "class",
    "content",
    "data-label",
    "datetime",
    "href",
    "http-equiv",
    "id",
    "lang",
    "name",
    "role",
    "scope",
];

impl Html {
    /// As a browser would; unlike a browser it takes no offence in silence.
    pub(crate) fn read(page: &str) -> Result<Self, String> {
        let mut html = Self::default();
        let mut open: Vec<String> = Vec::new();
        for token in Tokenizer::new(page) {
            let Ok(token) = token;
            match token {
                Token::StartTag(tag) => {
                    let name = words(&tag.name);
                    let attributes = tag.attributes.iter();
                    let attributes = attributes.map(|(key, value)| (words(key), words(value))).collect();
                    html.elements.push((name.clone(), attributes));
                    if !VOID.contains(&name.as_str()) {
                        open.push(name);
                    }
                }
                Token::EndTag(tag) => match open.pop() {
                    Some(name) if name == words(&tag.name) => {}
                    other => return Err(format!("{} ends where {other:?} should", words(&tag.name))),
                },
                Token::String(text) => match open.last().map(String::as_str) {
                    Some("style") => {}
                    Some("title") => html.title.push_str(&words(&text)),
                    _ => html.text.push_str(&words(&text)),
                },
                Token::Doctype(_) => {}
                Token::Comment(text) => return Err(format!("a comment: {}", words(&text))),
                Token::Error(error) => return Err(format!("not HTML: {error:?}")),
            }
        }
        if open.is_empty() { Ok(html) } else { Err(format!("{open:?} have no end")) }
    }

    /// Nothing runs and nothing is asked for.
    pub(crate) fn is_inert(&self) -> Result<(), String> {
        for (name, attributes) in &self.elements {
            if !ELEMENTS.contains(&name.as_str()) {
                return Err(format!("an element {name}"));
            }
            for (key, value) in attributes {
                if !ATTRIBUTES.contains(&key.as_str()) {
                    return Err(format!("{name} has an attribute {key}={value}"));
                }
            }
            if let Some(to) = attributes.get("href").filter(|to| !to.starts_with('#')) {
                return Err(format!("a link to {to}"));
            }
        }
        let policy = self.metas().find(|meta| meta.get("http-equiv").is_some());
        let policy = policy.and_then(|meta| meta.get("content")).ok_or("no policy")?;
        if !policy.starts_with("default-src 'none'; style-src 'unsafe-inline';") {
            return Err(format!("the policy {policy}"));
        }
        let once = |name: &str| self.elements.iter().filter(|(element, _)| element == name).count() == 1;
        if once("style") && once("title") && once("head") { Ok(()) } else { Err("a second style".to_owned()) }
    }

    /// Who does not see the page finds their way in it.
    pub(crate) fn is_accessible(&self) -> Result<(), String> {
        let of = |name: &str| -> Vec<&BTreeMap<String, String>> {
            self.elements.iter().filter(|(element, _)| element == name).map(|(_, all)| all).collect()
        };
        for landmark in ["html", "title", "header", "nav", "main", "footer", "h1"] {
            if of(landmark).len() != 1 {
                return Err(format!("{} of {landmark}", of(landmark).len()));
            }
        }
        if of("html")[0].get("lang").map(String::as_str) != Some("en") {
            return Err("no language".to_owned());
        }
        let ids: Vec<&String> = self.elements.iter().filter_map(|(_, all)| all.get("id")).collect();
        if ids.iter().collect::<BTreeSet<_>>().len() != ids.len() {
            return Err(format!("an id twice: {ids:?}"));
        }
        for (name, all) in &self.elements {
            let to = all.get("href").map(|to| to.trim_start_matches('#')).into_iter();
            for to in to.chain(all.get("aria-labelledby").map(String::as_str)) {
                if !ids.iter().any(|id| *id == to) {
                    return Err(format!("{name} points to {to}, which is not there"));
                }
            }
            if name == "th" && !all.contains_key("scope") {
                return Err("a heading of a table without scope".to_owned());
            }
            if name == "section" && !all.contains_key("aria-labelledby") {
                return Err("a section without a name".to_owned());
            }
        }
        if of("table").len() != of("caption").len() {
            return Err("a table without a caption".to_owned());
        }
        let levels = self.elements.iter().filter_map(|(name, _)| match name.as_bytes() {
            [b'h', level @ b'1'..=b'6'] => Some(level - b'0'),
            _ => None,
        });
        let levels: Vec<u8> = levels.collect();
        let skipped = levels.windows(2).any(|pair| pair[1] > pair[0] + 1);
        if levels[0] != 1 || skipped { Err(format!("levels of headings: {levels:?}")) } else { Ok(()) }
    }

    fn metas(&self) -> impl Iterator<Item = &BTreeMap<String, String>> {
        self.elements.iter().filter(|(name, _)| name == "meta").map(|(_, all)| all)
    }
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn events(page: &str) -> Parser<'_> {
    Parser::new_ext(page, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH)
}

/// Whatever could act: HTML, links, pictures; and quotations and blocks of code, which imps does not write.
pub(crate) fn markup(page: &str) -> Vec<String> {
    let acts = |event: &Event<'_>| {
        matches!(
            event,
            Event::Html(_)
                | Event::InlineHtml(_)
                | Event::Start(
                    Tag::Link { .. }
                        | Tag::Image { .. }
                        | Tag::BlockQuote(_)
                        | Tag::CodeBlock(_)
                        | Tag::Strikethrough
                        | Tag::Emphasis
                )
        )
    };
    events(page).filter(acts).map(|event| format!("{event:?}")).collect()
}

/// For each row how many cells it says that it has, and how many its table has.
pub(crate) fn cells_of_tables(page: &str) -> Vec<(usize, usize)> {
    let mut rows = Vec::new();
    for (event, range) in events(page).into_offset_iter() {
        if let Event::Start(Tag::Table(columns)) = event {
            for line in page[range].lines().filter(|line| !line.is_empty()) {
                let bars = line.match_indices('|').filter(|(at, _)| !line[..*at].ends_with('\\')).count();
                rows.push((bars - 1, columns.len()));
            }
        }
    }
    rows
}

/// What is read that is no code.
pub(crate) fn prose(page: &str) -> String {
    let mut text = String::new();
    for event in events(page) {
        match event {
            Event::Text(words) => text.push_str(&words),
            Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::TableCell) => text.push('\n'),
            _ => {}
        }
    }
    text
}

/// The colours of a page, of each of its palettes.
pub(crate) fn palettes(page: &str) -> Vec<BTreeMap<&str, [f64; 3]>> {
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let blocks = style.split(":root {").skip(1).map(|rest| rest.split('}').next().unwrap());
    let colour = |text: &str| {
        let channel = |at: usize| f64::from(u8::from_str_radix(&text[at..at + 2], 16).unwrap()) / 255.0;
        [channel(1), channel(3), channel(5)]
    };
    blocks
        .map(|block| {
            let variables = block.split("--").skip(1);
            variables
                .map(|one| one.split_once(": ").unwrap())
                .map(|(name, value)| (name, colour(value)))
                .collect()
        })
        .collect()
}

/// How much one colour stands out from another (WCAG 2.2, contrast ratio).
pub(crate) fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
    let luminance = |[r, g, b]: [f64; 3]| 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    let (a, b) = (luminance(one), luminance(other));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}
