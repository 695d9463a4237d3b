//! A block between two markers in a file of somebody else's: replaced or added, and all around it left byte for byte.

use std::path::Path;

/// How a file writes comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommentSyntax {
    /// `<!-- … -->` around the markers; what is between them is text of the file.
    Html,
    /// `# …`, on each line.
    Hash,
    /// `// …`, on each line.
    Slashes,
}

/// Markers that don't make one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    /// The end was lost.
    #[error("the marker locum:begin has no locum:end behind it")]
    NoEnd,
    /// The beginning was lost.
    #[error("the marker locum:end has no locum:begin before it")]
    NoBegin,
    /// There are two of one.
    #[error("there is more than one marker locum:begin or locum:end")]
    Several,
}

const HASH: [&str; 13] = ["py", "sh", "bash", "zsh", "fish", "toml", "yaml", "yml", "rb", "pl", "conf", "cfg", "env"];
const SLASHES: [&str; 12] = ["js", "mjs", "cjs", "ts", "tsx", "jsx", "rs", "go", "java", "c", "h", "jsonc"];

impl CommentSyntax {
    /// By the file's name. What is no code is text that a model reads, where Markdown does no harm. JSON has no comments.
    pub fn of_file(path: &Path) -> Option<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match extension.as_str() {
            "json" => None,
            code if HASH.contains(&code) => Some(Self::Hash),
            code if SLASHES.contains(&code) => Some(Self::Slashes),
            _ => Some(Self::Html),
        }
    }

    fn marker(self, word: &str) -> String {
        match self {
            Self::Html => format!("<!-- locum:{word} -->"),
            Self::Hash => format!("# locum:{word}"),
            Self::Slashes => format!("// locum:{word}"),
        }
    }

    fn line(self, text: &str) -> String {
        let begin = match self {
            Self::Html => return text.to_owned(),
            Self::Hash => "#",
            Self::Slashes => "//",
        };
        if text.is_empty() { begin.to_owned() } else { format!("{begin} {text}") }
    }
}

/// `old` with `body` in its block, which is added at the end where there is none.
///
/// # Errors
/// It has markers that don't make one block.
pub(super) fn with_block(old: &[u8], body: &str, syntax: CommentSyntax) -> Result<Vec<u8>, MarkerError> {
    let newline = if old.windows(2).any(|pair| pair == b"\r\n") { "\r\n" } else { "\n" };
    let (begin, end) = (syntax.marker("begin"), syntax.marker("end"));
    let lines = [begin.clone()].into_iter().chain(body.lines().map(|line| syntax.line(line))).chain([end.clone()]);
    let block = lines.collect::<Vec<_>>().join(newline);
    let (before, after) = match (marker_line(old, &begin)?, marker_line(old, &end)?) {
        (None, None) => {
            let mut new = old.to_vec();
            if !old.is_empty() {
                let gap = if old.ends_with(b"\n") { 1 } else { 2 };
                (0..gap).for_each(|_| new.extend_from_slice(newline.as_bytes()));
            }
            new.extend_from_slice(block.as_bytes());
            new.extend_from_slice(newline.as_bytes());
            return Ok(new);
        }
        (Some(_), None) => return Err(MarkerError::NoEnd),
        (None, Some(_)) => return Err(MarkerError::NoBegin),
        (Some(begin), Some(end)) if end.0 < begin.0 => return Err(MarkerError::NoEnd),
        (Some(begin), Some(end)) => (&old[..begin.0], &old[end.1..]),
    };
    Ok([before, block.as_bytes(), after].concat())
}

/// Where the one line that is this marker begins and ends, blanks and its newline aside.
fn marker_line(text: &[u8], marker: &str) -> Result<Option<(usize, usize)>, MarkerError> {
    let (mut found, mut start) = (None, 0);
    for line in text.split_inclusive(|b| *b == b'\n') {
        let trimmed = line.trim_ascii();
        if trimmed == marker.as_bytes() {
            let at = start + (line.len() - line.trim_ascii_start().len());
            if found.replace((at, at + trimmed.len())).is_some() {
                return Err(MarkerError::Several);
            }
        }
        start += line.len();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(old: &str, body: &str, syntax: CommentSyntax) -> Result<String, MarkerError> {
        with_block(old.as_bytes(), body, syntax).map(|new| String::from_utf8(new).unwrap())
    }

    #[test]
    fn a_block_is_added_once_and_then_kept() {
        use CommentSyntax::{Hash, Html, Slashes};
        for (syntax, old, new) in [
            (Html, "", "<!-- locum:begin -->\na\n\nb\n<!-- locum:end -->\n"),
            (Html, "x", "x\n\n<!-- locum:begin -->\na\n\nb\n<!-- locum:end -->\n"),
            (Html, "x\r\n", "x\r\n\r\n<!-- locum:begin -->\r\na\r\n\r\nb\r\n<!-- locum:end -->\r\n"),
            (Hash, "x = 1\n", "x = 1\n\n# locum:begin\n# a\n#\n# b\n# locum:end\n"),
            (Slashes, "x()\n", "x()\n\n// locum:begin\n// a\n//\n// b\n// locum:end\n"),
        ] {
            assert_eq!(set(old, "a\n\nb\n", syntax).as_deref(), Ok(new));
            assert_eq!(set(new, "a\n\nb\n", syntax).as_deref(), Ok(new), "nothing changes");
            let changed = set(new, "c\n", syntax).unwrap();
            assert_eq!(set(&changed, "a\n\nb\n", syntax).as_deref(), Ok(new), "and back");
        }
    }

    #[test]
    fn all_around_it_stays_byte_for_byte() {
        let around =
            |block: &[u8]| [&b"\xff\xfe text\r\n\t"[..], block, b"  \n\n <!-- locum:end --> in a line\nlast"].concat();
        let old = around(b"<!-- locum:begin -->\r\nold\r\n<!-- locum:end -->");
        let new = with_block(&old, "new", CommentSyntax::Html);
        assert_eq!(new, Ok(around(b"<!-- locum:begin -->\r\nnew\r\n<!-- locum:end -->")));
    }

    #[test]
    fn half_a_block_is_told_and_not_guessed_at() {
        let (begin, end) = ("<!-- locum:begin -->\n", "<!-- locum:end -->\n");
        for (old, why) in [
            (format!("a\n{begin}b\n"), MarkerError::NoEnd),
            (format!("a\n{end}b\n"), MarkerError::NoBegin),
            (format!("{end}{begin}"), MarkerError::NoEnd),
            (format!("{begin}{end}{begin}{end}"), MarkerError::Several),
            (format!("{begin}{begin}{end}"), MarkerError::Several),
            (format!("{begin}a\n{end}{end}"), MarkerError::Several),
        ] {
            assert_eq!(set(&old, "x", CommentSyntax::Html), Err(why), "{old}");
        }
    }

    #[test]
    fn comments_are_the_files_own() {
        for (file, syntax) in [
            ("AGENTS.md", Some(CommentSyntax::Html)),
            (".cursorrules", Some(CommentSyntax::Html)),
            ("prompt.py", Some(CommentSyntax::Hash)),
            ("a.b.YAML", Some(CommentSyntax::Hash)),
            ("agent.mjs", Some(CommentSyntax::Slashes)),
            ("mcp.json", None),
        ] {
            assert_eq!(CommentSyntax::of_file(Path::new(file)), syntax, "{file}");
        }
    }
}
