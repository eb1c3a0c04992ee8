//! Cloudflare's form: variables and secrets for `wrangler`, and the page for Workers KV.
//!
//! `wrangler kv bulk put` takes base64. Its local store spoils what is no text by reading it as
//! UTF-8 (wrangler 4.86; workers-sdk pull request 15192), so such values are also there as files,
//! which `wrangler kv key put` takes as they are. The service is not concerned.

use std::fmt::Write as _;

use outport_edge_core::deployment::pieces;
use serde_json::{Map, Value, json};

use super::output::{File, Next, Rendered, word};
use super::{Problem, Source, base64};

/// Shorter pieces than this are not tried; no JSON has so many backslashes in a row.
const SHORTER_MAX: usize = 64;

pub(super) fn render(source: &Source) -> Result<Rendered, Problem> {
    let variables = variables(source)?;
    let values: Vec<Value> = source
        .values
        .iter()
        .map(|(key, value)| json!({ "key": key, "value": base64(value), "base64": true }))
        .collect();
    let secrets: Map<String, Value> =
        variables.iter().map(|(name, text)| (name.clone(), text.as_str().into())).collect();
    let no_text: Vec<(&str, File)> = source
        .value_files()
        .into_iter()
        .filter(|(_, file)| std::str::from_utf8(&file.content).is_err())
        .collect();
    let next = next(source, &no_text);
    let mut files = vec![
        File::secret("vars.env", dotenv(&variables)),
        File::secret("secrets.json", Value::Object(secrets).to_string()),
        File::open("values.json", Value::Array(values).to_string()),
    ];
    files.extend(no_text.into_iter().map(|(_, file)| file));
    Ok(Rendered { files, next })
}

/// Configuration and secrets as variables of the Worker. All of them are set as secrets, so that
/// `wrangler.toml` needs no line for them.
fn variables(source: &Source) -> Result<Vec<(String, String)>, Problem> {
    let bounds = &source.platform.bounds;
    let (config, secrets) = source.deployment.to_parts();
    let mut variables = cut("OUTPORT_CONFIG", &config, bounds.config_piece_bytes)?;
    variables.extend(cut("OUTPORT_SECRETS", &secrets, bounds.secret_piece_bytes)?);
    Ok(variables)
}

/// Cuts JSON into pieces that stand between single quotes as they are. What a file of variables
/// would read as a quote or as another variable's name is written as JSON's own escapes, and no
/// piece ends in a backslash, which would take the closing quote with it.
fn cut(name: &str, json: &str, bytes_max: Option<usize>) -> Result<Vec<(String, String)>, Problem> {
    let text = json.replace('\'', r"\u0027").replace('$', r"\u0024");
    let most = bytes_max.unwrap_or(text.len());
    let ends_well =
        |cut: &Vec<(String, String)>| cut.iter().all(|(_, piece)| !piece.ends_with('\\'));
    let tries = (most.saturating_sub(SHORTER_MAX)..=most).rev();
    let mut cuts = tries.map(|bytes_max| pieces(name, &text, bytes_max));
    match cuts.find(|cut| cut.as_ref().map_or(true, ends_well)) {
        Some(cut) => cut.map_err(Problem::Configuration),
        None => Err(Problem::Configuration(format!("{name} can't be cut: it is all backslashes"))),
    }
}

fn dotenv(variables: &[(String, String)]) -> String {
    let mut lines = String::new();
    for (name, text) in variables {
        let _ = writeln!(lines, "{name}='{text}'");
    }
    lines
}

fn next(source: &Source, no_text: &[(&str, File)]) -> Vec<Next> {
    let [vars, secrets, values] =
        ["vars.env", "secrets.json", "values.json"].map(|name| word(source.path(name)));
    let put = format!("wrangler kv bulk put {values} --binding OUTPORT_VALUES");
    let put_one = |(key, file): &(&str, File)| {
        let (key, path) = (word(key), word(source.path(&file.name)));
        format!("wrangler kv key put {key} --path {path} --binding OUTPORT_VALUES --local")
    };
    let mut here = vec![format!("{put} --local")];
    here.extend(no_text.iter().map(put_one));
    here.push(format!("wrangler dev --env-file {vars}"));
    vec![
        Next {
            title: "To run it here (what is no text one by one: the local store wants it so)",
            commands: here,
        },
        Next {
            title: "To deploy it",
            commands: vec![
                "outport check --for cloudflare".to_owned(),
                format!("{put} --remote"),
                format!("wrangler deploy --secrets-file {secrets}"),
            ],
        },
        Next {
            title: "To change the configuration alone, later",
            commands: vec![format!("wrangler secret bulk {secrets}")],
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read, source};
    use super::*;
    use crate::target::Target;
    use outport_edge_core::deployment::{Deployment, gather};

    #[test]
    fn the_variables_are_the_deployment() {
        let source = source(Target::Cloudflare, "[edge]\nupstream_timeout_ms = 777\n");
        let rendered = render(&source).unwrap();
        let secrets = read(&rendered, "secrets.json");
        let get = |name: &str| secrets.get(name).and_then(Value::as_str).map(str::to_owned);
        let text = |name: &str| gather(name, get).unwrap();
        let whole =
            Deployment::from_parts(&text("OUTPORT_CONFIG"), &text("OUTPORT_SECRETS")).unwrap();
        assert_eq!(whole.to_parts(), source.deployment.to_parts());
        assert_eq!(whole.core.upstream_timeout_ms, 777);
    }

    #[test]
    fn both_files_say_the_same_and_are_secret() {
        let rendered = render(&source(Target::Cloudflare, "")).unwrap();
        let secrets = read(&rendered, "secrets.json");
        let lines = String::from_utf8(rendered.files[0].content.clone()).unwrap();
        assert_eq!(lines.lines().count(), secrets.as_object().unwrap().len());
        for line in lines.lines() {
            let (name, text) = line.split_once('=').unwrap();
            let text = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap();
            assert_eq!(secrets[name], text);
        }
        assert!(rendered.files[..2].iter().all(|file| file.secret));
    }

    #[test]
    fn values_are_in_base64() {
        let rendered = render(&source(Target::Cloudflare, "")).unwrap();
        let values = read(&rendered, "values.json");
        assert_eq!(values[0], json!({ "key": "page a.js t br", "value": "/wAB", "base64": true }));
    }

    #[test]
    fn what_is_no_text_is_put_one_by_one_into_the_local_store() {
        let rendered = render(&source(Target::Cloudflare, "")).unwrap();
        let here = &rendered.next[0].commands;
        let single: Vec<_> = here.iter().filter(|command| command.contains("key put")).collect();
        assert_eq!(
            single,
            ["wrangler kv key put 'page a.js t br' --path /out/values/000 --binding \
              OUTPORT_VALUES --local"]
        );
        let file = rendered.files.iter().find(|file| file.name == "values/000").unwrap();
        assert_eq!(file.content, [0xff, 0, 1]);
    }

    #[test]
    fn pieces_stand_between_single_quotes() {
        let json = format!(r#"{{"a":"it's $HOME","b":"{}"}}"#, r#"\""#.repeat(40));
        for bytes_max in 70..90 {
            let cut = cut("V", &json, Some(bytes_max)).unwrap();
            assert!(cut.len() > 1);
            let ill = |piece: &str| piece.contains(['\'', '$']) || piece.ends_with('\\');
            assert!(!cut.iter().any(|(_, piece)| ill(piece) || piece.len() > bytes_max), "{cut:?}");
            let text: String = cut.into_iter().map(|(_, piece)| piece).collect();
            let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(value(&text), value(&json));
        }
    }
}
