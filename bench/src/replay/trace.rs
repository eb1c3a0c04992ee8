//! Reads a trace in the text form of webcachesim and libCacheSim: a line for each request, with
//! its time, its key and its size.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::workload::Request;

/// The first requests of a trace.
pub(super) fn open(path: &Path, requests_max: usize) -> Result<Vec<Request>> {
    let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
    let read = read(BufReader::new(file), requests_max);
    read.with_context(|| format!("{} is no trace", path.display()))
}

/// Reads requests, one a line: time, key, size in bytes, with blanks or commas between them.
/// More columns may follow. Empty lines and those that begin with `#` say nothing.
///
/// A key whose size changes stands for another file from there on: what was stored is of no use.
fn read(lines: impl BufRead, requests_max: usize) -> Result<Vec<Request>> {
    let mut files = HashMap::new();
    let mut requests = Vec::new();
    for (line, number) in lines.lines().zip(1..) {
        let line = line.with_context(|| format!("line {number}"))?;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if requests.len() == requests_max {
            break;
        }
        let (key, bytes) = request(&line).with_context(|| format!("line {number}: {line:?}"))?;
        let count = u32::try_from(files.len()).context("more files than can be counted")?;
        let file = *files.entry((key.to_owned(), bytes)).or_insert(count);
        requests.push(Request::new(file, bytes));
    }
    ensure!(!requests.is_empty(), "nothing is asked for in it");
    Ok(requests)
}

/// The key and the size.
fn request(line: &str) -> Result<(&str, u64)> {
    let separate = |letter: char| letter == ',' || letter.is_whitespace();
    let mut columns = line.split(separate).filter(|column| !column.is_empty());
    let (Some(time), Some(key), Some(size)) = (columns.next(), columns.next(), columns.next())
    else {
        anyhow::bail!("a request is a time, a key and a size");
    };
    let time = time.parse::<f64>();
    time.context("a request begins with its time, as a number")?;
    Ok((key, size.parse().context("the third column is the size, a number of bytes")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", read(text.as_bytes(), 10).unwrap_err())
    }

    #[test]
    fn both_forms_are_read() {
        let expected = [(0, 10), (1, 20), (0, 10), (2, 30)];
        for text in [
            "1 a 10\n1.5\tb  20\n\n2 a 10 7 x\n3 a 30\n",
            "# time, object, size\n1, a, 10\n1,b,20\r\n2,a,10\n3,a,30\n",
        ] {
            let requests = read(text.as_bytes(), 10).unwrap();
            let read: Vec<_> =
                requests.iter().map(|request| (request.file, request.bytes)).collect();
            assert_eq!(read, expected, "{text}");
        }
        assert_eq!(read("1 a 1\n1 a 1\n".as_bytes(), 1).unwrap().len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        assert_eq!(
            error("1 a 10\n2 b\n"),
            "line 2: \"2 b\": a request is a time, a key and a size"
        );
        assert!(error("1 a 10\n\n2 b -5\n").starts_with("line 3: \"2 b -5\": the third column"));
        assert!(error("a 1 10\n").starts_with("line 1: \"a 1 10\": a request begins with"));
        assert_eq!(error("# time, key, size\n"), "nothing is asked for in it");
        assert!(format!("{:#}", open(Path::new("/no/such"), 1).unwrap_err()).contains("/no/such"));
        assert!(read(&b"1 a 1\n\xff\n"[..], 10).is_err());
    }
}
