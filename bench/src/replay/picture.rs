//! The hit ratios as a picture: a row for each workload, a chart for each count, a line for each
//! policy.

use std::fmt::Write as _;

use super::{CONTENDERS, COUNTS, Count, Measured};

/// A chart with all around it, the chart, and where in the former the latter begins.
const CELL: (f64, f64) = (330.0, 300.0);
const CHART: (f64, f64) = (262.0, 200.0);
const MARGIN: (f64, f64) = (54.0, 48.0);
const LEGEND_HEIGHT: f64 = 40.0;

/// As [`CONTENDERS`]: told apart by their dashes as well as by Okabe and Ito's colours.
const LINES: [Line; CONTENDERS.len()] = [
    Line { colour: "#d55e00", dashes: "none", width: 3.0 },
    Line { colour: "#0072b2", dashes: "none", width: 1.5 },
    Line { colour: "#009e73", dashes: "8 3", width: 1.5 },
    Line { colour: "#cc79a7", dashes: "2 3", width: 1.5 },
    Line { colour: "#333333", dashes: "10 4 2 4", width: 1.5 },
];

struct Line {
    colour: &'static str,
    dashes: &'static str,
    width: f64,
}

/// Draws caches of several sizes for each of these workloads, as SVG.
pub(super) fn draw(results: &[(String, Vec<Measured>)]) -> String {
    let counts: Vec<_> = COUNTS.iter().filter(|count| is_counted(count, results)).collect();
    let width = CELL.0 * counts.len() as f64;
    let height = LEGEND_HEIGHT + CELL.1 * results.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Hit ratios by policy and size of the cache</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    legend(&mut svg);
    for (row, (name, caches)) in results.iter().enumerate() {
        let y = LEGEND_HEIGHT + CELL.1 * row as f64;
        put(&mut svg, (14.0, y + 16.0), "font-weight=\"bold\"", name);
        for (column, count) in counts.iter().enumerate() {
            let x = CELL.0 * column as f64 + MARGIN.0;
            let _ = writeln!(svg, "<g transform=\"translate({x} {})\">", y + MARGIN.1);
            chart(&mut svg, count, caches);
            svg.push_str("</g>\n");
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn is_counted((_, count): &Count, results: &[(String, Vec<Measured>)]) -> bool {
    let mut tallies = results.iter().flat_map(|(_, caches)| caches).flat_map(|c| &c.tallies);
    tallies.any(|tally| count(tally).percent().is_some())
}

fn legend(svg: &mut String) {
    for (place, ((name, _), style)) in CONTENDERS.iter().zip(&LINES).enumerate() {
        let x = 16.0 + 122.0 * place as f64;
        line(svg, &[(x, 20.0), (x + 36.0, 20.0)], style);
        put(svg, (x + 44.0, 24.0), "", name);
    }
}

fn chart(svg: &mut String, (name, count): &Count, caches: &[Measured]) {
    let (width, height) = CHART;
    let middle = "text-anchor=\"middle\"";
    put(svg, (width / 2.0, -10.0), middle, &format!("hits, % of {name}"));
    for percent in [0, 20, 40, 60, 80, 100] {
        let y = up(f64::from(percent));
        let _ = writeln!(svg, "<path d=\"M0 {y}H{width}\" stroke=\"#ddd\"/>");
        put(svg, (-6.0, y + 4.0), "text-anchor=\"end\"", &percent.to_string());
    }
    for cache in caches {
        let x = across(caches, cache);
        let _ = writeln!(svg, "<path d=\"M{x:.1} {height}v5\" stroke=\"#333\"/>");
        put(svg, (x, height + 18.0), middle, &cache.percent().to_string());
    }
    let _ = writeln!(svg, "<path d=\"M0 0V{height}H{width}\" fill=\"none\" stroke=\"#333\"/>");
    let below = "cache, % of what all files take (logarithmic)";
    put(svg, (width / 2.0, height + 36.0), middle, below);
    // The first one last, so that none covers it.
    for (place, style) in LINES.iter().enumerate().rev() {
        let point = |cache: &Measured| {
            let percent = count(cache.tallies.get(place)?).percent()?;
            Some((across(caches, cache), up(percent)))
        };
        let points: Vec<_> = caches.iter().filter_map(point).collect();
        line(svg, &points, style);
    }
}

/// Where a ratio stands.
fn up(percent: f64) -> f64 {
    CHART.1 * (1.0 - percent / 100.0)
}

/// Where a cache stands among these, by the logarithm of its size.
fn across(caches: &[Measured], cache: &Measured) -> f64 {
    let logarithm = |cache: &Measured| cache.percent().ln();
    let first = caches.first().map_or(0.0, logarithm);
    let last = caches.last().map_or(1.0, logarithm);
    CHART.0 * (0.04 + 0.92 * (logarithm(cache) - first) / (last - first))
}

fn line(svg: &mut String, points: &[(f64, f64)], style: &Line) {
    let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let Line { colour, dashes, width } = style;
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" \
         stroke-dasharray=\"{dashes}\"/>",
        points.join(" ")
    );
}

fn put(svg: &mut String, (x, y): (f64, f64), attributes: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::super::{Ratio, Tally};
    use super::*;

    #[test]
    fn each_policy_has_a_line_in_each_chart_that_has_something_to_show() {
        let half = Ratio { hits: 1, all: 2 };
        let tally = Tally { files: half, bytes: half, ..Tally::default() };
        let cache = |share| Measured { share, bytes_max: 0, tallies: vec![tally; LINES.len()] };
        let svg = draw(&[("a <b>".into(), vec![cache(1), cache(100)])]);
        // Nothing is counted beside a scan.
        assert_eq!(svg.matches("<polyline").count(), LINES.len() * (1 + 2));
        assert_eq!(svg.matches("points=\"10.5,100.0 251.5,100.0\"").count(), LINES.len() * 2);
        assert!(svg.contains("a &lt;b>"));
    }
}
