//! `POST /purge`: what is stored is found no more, or is stale, from now on.
//!
//! Whatever is stored has tags, and a purge names tags: that of a URI, that of a file, and those that
//! the origin gave in `Cache-Tag` or `Surrogate-Key`.

use outport_wire::id::FileId;
use outport_wire::problem::{Problem, ProblemType};
use serde::Deserialize;

use crate::caching::fields::{Lines, digest};
use crate::step::Purge;

/// The largest body of a purge, in bytes.
pub(crate) const BODY_BYTES_MAX: u64 = 64 << 10;
/// The most that one purge names.
const NAMED_MAX: usize = 256;
/// The most tags that a response may have.
const TAGS_MAX: usize = 64;
/// The longest tag of an origin, in bytes.
const TAG_BYTES_MAX: usize = 256;

/// What is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    /// `https://host/path?query`, or path and query alone for this host.
    urls: Vec<String>,
    /// Ids of files.
    files: Vec<String>,
    tags: Vec<String>,
    /// What is stored may be used on, as what is stale may.
    soft: bool,
}

/// Reads the body of a purge that came to this host.
pub(crate) fn read(body: Option<&[u8]>, host: &str) -> Result<Vec<Purge>, Problem> {
    let body = body.ok_or_else(|| {
        let detail = format!("The body of a purge has at most {BODY_BYTES_MAX} bytes.");
        Problem::new(ProblemType::TooLarge, detail).with("max", BODY_BYTES_MAX)
    })?;
    let asked: Asked = serde_json::from_slice(body).map_err(|error| {
        wrong(format!(
            "{error}. It takes a document such as {{\"urls\": [\"/a\"], \"files\": [], \
             \"tags\": [\"shop\"], \"soft\": false}}."
        ))
    })?;
    let Asked { urls, files, tags, soft } = asked;
    let named = urls.len() + files.len() + tags.len();
    if named == 0 || named > NAMED_MAX {
        return Err(wrong(format!("It names {named} things; it takes 1 to {NAMED_MAX}.")));
    }
    let urls = urls.iter().map(|url| of_url(url, host));
    let files = files.iter().map(|id| match id.parse() {
        Ok(id) => Ok(of_file(id)),
        Err(_) => Err(wrong(format!("\"{id}\" is no file's id."))),
    });
    let tags = tags.iter().map(|tag| match is_tag(tag.as_bytes()) {
        true => Ok(of_tag(tag)),
        false => Err(wrong(format!(
            "The tag \"{tag}\" can't be: a tag has 1 to {TAG_BYTES_MAX} visible ASCII characters, \
             and no comma."
        ))),
    });
    urls.chain(files).chain(tags).map(|tag| Ok(Purge { tag: tag?, soft })).collect()
}

/// What is noted of a purge, as a query: how many things of each kind it names, and how.
pub(crate) fn describe(purge: &[Purge]) -> String {
    let of = |kind: &str| purge.iter().filter(|purge| purge.tag.starts_with(kind)).count();
    let (urls, files, tags) = (of("uri "), of("file "), of("tag "));
    let soft = purge.iter().any(|purge| purge.soft);
    format!("urls={urls}&files={files}&tags={tags}&soft={soft}")
}

fn wrong(detail: String) -> Problem {
    Problem::new(ProblemType::InvalidField, detail)
}

fn of_url(url: &str, host: &str) -> Result<String, Problem> {
    let absolute =
        [("http://", ":80"), ("https://", ":443")].into_iter().find_map(|(scheme, port)| {
            let (authority, target) = split(url.strip_prefix(scheme)?);
            Some((authority.strip_suffix(port).unwrap_or(authority), target))
        });
    let (authority, target) = match absolute {
        Some(found) => found,
        None if url.starts_with('/') && !url.starts_with("//") => (host, url),
        None => {
            return Err(wrong(format!(
                "\"{url}\" can't be purged: it takes https://host/path, or /path for this host."
            )));
        }
    };
    let target = target.split('#').next().unwrap_or_default();
    match file_at(target) {
        Some(id) => Ok(of_file(id)),
        None => Ok(of_target(authority, if target.is_empty() { "/" } else { target })),
    }
}

/// The file that a target is of: by whatever name and link, it is one stored response.
fn file_at(target: &str) -> Option<FileId> {
    let path = target.split('?').next().unwrap_or_default();
    path.strip_prefix("/files/")?.split('/').next()?.parse().ok()
}

fn split(rest: &str) -> (&str, &str) {
    rest.split_at_checked(rest.find(['/', '?', '#']).unwrap_or(rest.len())).unwrap_or((rest, ""))
}

/// The tag of what this target of a host gives, by whatever scheme and in whatever variant.
pub(crate) fn of_target(host: &str, target: &str) -> String {
    format!("uri {}", digest([&*host.to_ascii_lowercase(), target]))
}

/// The tag of a file.
pub(crate) fn of_file(id: FileId) -> String {
    format!("file {id}")
}

fn of_tag(tag: &str) -> String {
    format!("tag {tag}")
}

/// The tags that an origin gives. `None`: more than are kept, or one that can't be, so that a purge
/// might miss the response.
pub(crate) fn given(lines: &Lines<'_>) -> Option<Vec<String>> {
    let comma = lines.all("cache-tag").flat_map(|line| line.split(|byte| *byte == b','));
    let space = lines.all("surrogate-key").flat_map(|line| line.split(u8::is_ascii_whitespace));
    let mut tags = Vec::new();
    for tag in comma.chain(space).map(<[u8]>::trim_ascii).filter(|tag| !tag.is_empty()) {
        let text = std::str::from_utf8(tag).ok().filter(|_| is_tag(tag))?;
        tags.push(of_tag(text));
    }
    tags.sort_unstable();
    tags.dedup();
    (tags.len() <= TAGS_MAX).then_some(tags)
}

/// Whether it can be an origin's tag: without blanks and commas, which are between tags.
fn is_tag(tag: &[u8]) -> bool {
    (1..=TAG_BYTES_MAX).contains(&tag.len())
        && tag.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::FieldLines;

    fn tags(body: &str) -> Vec<String> {
        let purges = read(Some(body.as_bytes()), "x").unwrap();
        purges.into_iter().map(|purge| purge.tag).collect()
    }

    #[test]
    fn what_is_purged() {
        for url in
            ["http://x/a?b", "https://X/a?b#c", "/a?b", "http://x:80/a?b", "https://x:443/a?b"]
        {
            assert_eq!(
                tags(&format!("{{\"urls\": [\"{url}\"]}}")),
                [of_target("x", "/a?b")],
                "{url}"
            );
        }
        assert_eq!(tags("{\"urls\": [\"https://y:8080\"]}"), [of_target("y:8080", "/")]);
        assert_eq!(tags("{\"urls\": [\"https://y?a\"]}"), [of_target("y", "?a")]);
        let id = "01000G0000000C000000000004";
        for url in ["/files/{id}", "https://x/files/{id}?download", "/files/{id}/a.txt#b"] {
            let url = url.replace("{id}", id);
            assert_eq!(tags(&format!("{{\"urls\": [\"{url}\"]}}")), [format!("file {id}")]);
        }
        assert_eq!(tags("{\"urls\": [\"/files/x\"]}"), [of_target("x", "/files/x")]);
        assert_eq!(
            tags(&format!("{{\"files\": [\"{id}\"], \"tags\": [\"a\", \"b:c\"]}}")),
            [format!("file {id}"), "tag a".to_owned(), "tag b:c".to_owned()]
        );
        let soft = read(Some(b"{\"tags\": [\"a\"], \"soft\": true}"), "x").unwrap();
        assert_eq!(soft, [Purge { tag: "tag a".to_owned(), soft: true }]);
    }

    #[test]
    fn what_can_t_be_purged() {
        for (body, detail) in [
            ("", "EOF while parsing"),
            ("\"x\"", "It takes a document such as"),
            ("{}", "It names 0 things"),
            ("{\"tag\": \"a\"}", "unknown field `tag`"),
            ("{\"urls\": [\"a\"]}", "\"a\" can't be purged"),
            ("{\"urls\": [\"//y/a\"]}", "can't be purged"),
            ("{\"urls\": [\"ftp://y/a\"]}", "can't be purged"),
            ("{\"files\": [\"x\"]}", "\"x\" is no file's id"),
            ("{\"tags\": [\"a b\"]}", "The tag \"a b\" can't be"),
            ("{\"tags\": [\"\"]}", "The tag \"\" can't be"),
        ] {
            let problem = read(Some(body.as_bytes()), "x").unwrap_err();
            assert_eq!(problem.kind.status(), 400, "{body}");
            assert!(problem.detail().contains(detail), "{body}: {}", problem.detail());
        }
        assert_eq!(read(None, "x").unwrap_err().kind.status(), 413);
        let many = format!("{{\"tags\": [{}\"a\"]}}", "\"a\",".repeat(NAMED_MAX));
        assert!(read(Some(many.as_bytes()), "x").is_err());
    }

    #[test]
    fn what_an_origin_gives() {
        let given = |lines: &str| given(&Lines::new(FieldLines::new(lines.as_bytes())));
        assert_eq!(given(""), Some(vec![]));
        assert_eq!(
            given("cache-tag: b, a,,\r\nsurrogate-key: a  c\r\n").unwrap(),
            ["tag a", "tag b", "tag c"]
        );
        assert_eq!(given("cache-tag: a b\r\n"), None);
        assert_eq!(given(&format!("surrogate-key: {}\r\n", "x".repeat(257))), None);
        let many: String = (0..=TAGS_MAX).map(|tag| format!("{tag} ")).collect();
        assert_eq!(given(&format!("surrogate-key: {many}\r\n")), None);
    }
}
