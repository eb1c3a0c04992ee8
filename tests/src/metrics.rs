//! Reads Prometheus text.

/// The sum of all samples of `name` whose labels contain `label` (empty for all).
pub async fn sum(url: &str, name: &str, label: &str) -> u64 {
    let text = reqwest::get(url).await.expect("metrics are served").text().await;
    sum_of(&text.expect("metrics are text"), name, label)
}

fn sum_of(text: &str, name: &str, label: &str) -> u64 {
    let sample = |line: &str| -> Option<f64> {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once('}')?,
            None => ("", rest.strip_prefix(' ')?),
        };
        if labels.contains(label) { value.split_whitespace().next()?.parse().ok() } else { None }
    };
    text.lines().filter_map(sample).sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::sum_of;

    #[test]
    fn samples_are_told_apart_by_name_and_label() {
        let text = "# HELP a x\na_total{b=\"c\"} 2\na_total{b=\"d\"} 3\na_total_other 5\na 7\n";
        assert_eq!(sum_of(text, "a_total", ""), 5);
        assert_eq!(sum_of(text, "a_total", "b=\"d\""), 3);
        assert_eq!(sum_of(text, "a", ""), 7);
    }
}
