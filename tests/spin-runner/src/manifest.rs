//! What of spin.toml the runner goes by.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// An application with one component that answers HTTP.
pub(crate) struct Manifest {
    /// The component's file.
    pub(crate) source: PathBuf,
    /// The component's variables.
    pub(crate) variables: BTreeMap<String, String>,
    /// The labels of the stores it may open.
    pub(crate) stores: BTreeSet<String>,
    /// Where it may send requests.
    pub(crate) outbound: Vec<String>,
}

// What follows is the part of Spin's published schema that the runner can serve, under its names;
// <https://schemas.spinframework.dev/spin/manifest-v2/latest.json> has the whole. What is not in it
// is refused, and so is what the runner would have to leave out.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    spin_manifest_version: u32,
    #[serde(rename = "application")]
    _application: Application,
    trigger: Triggers,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    component: BTreeMap<String, Component>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Application {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "version", default)]
    _version: String,
    #[serde(rename = "description", default)]
    _description: String,
    #[serde(rename = "authors", default)]
    _authors: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Triggers {
    http: Vec<Trigger>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trigger {
    route: String,
    component: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    #[serde(default)]
    required: bool,
    #[serde(rename = "secret", default)]
    _secret: bool,
    #[serde(rename = "description", default)]
    _description: String,
    default: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    source: String,
    #[serde(rename = "description", default)]
    _description: String,
    #[serde(rename = "build", default)]
    _build: Option<Build>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    key_value_stores: BTreeSet<String>,
    #[serde(default)]
    allowed_outbound_hosts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    #[serde(rename = "command")]
    _command: String,
    #[serde(rename = "workdir", default)]
    _workdir: Option<String>,
    #[serde(rename = "watch", default)]
    _watch: Vec<String>,
}

impl Manifest {
    /// Reads a manifest, and gives its variables these values: `NAME=VALUE` or `@FILE`.
    pub(crate) fn read(path: &Path, given: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let file: File = toml::from_str(&text)?;
        ensure!(file.spin_manifest_version == 2, "only manifests of version 2 are read");
        let [trigger] = file.trigger.http.as_slice() else { bail!("only one trigger is served") };
        ensure!(trigger.route == "/...", "only the route /... is served");
        let component = file.component.get(&trigger.component);
        let component = component.with_context(|| format!("no component {}", trigger.component))?;
        let values = application_variables(&file.variables, given)?;
        let fill = |text: &String| fill(text, &values);
        let variables = component.variables.iter();
        Ok(Self {
            source: path.parent().unwrap_or(Path::new("")).join(&component.source),
            variables: variables
                .map(|(name, text)| Ok((name.clone(), fill(text)?)))
                .collect::<Result<_>>()?,
            stores: component.key_value_stores.clone(),
            outbound: component.allowed_outbound_hosts.iter().map(fill).collect::<Result<_>>()?,
        })
    }
}

fn application_variables(
    declared: &BTreeMap<String, Variable>,
    given: &[String],
) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for given in given {
        if let Some(file) = given.strip_prefix('@') {
            let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
            let file: BTreeMap<String, String> = serde_json::from_str(&text)?;
            values.extend(file);
        } else {
            let (name, value) = given.split_once('=').context("a variable is NAME=VALUE")?;
            values.insert(name.to_owned(), value.to_owned());
        }
    }
    for (name, variable) in declared {
        match &variable.default {
            Some(default) => {
                values.entry(name.clone()).or_insert_with(|| default.clone());
            }
            None if variable.required => {
                ensure!(values.contains_key(name), "the variable {name} has no value");
            }
            None => {}
        }
    }
    Ok(values)
}

/// Puts variables in the place of `{{ name }}`.
fn fill(text: &str, values: &BTreeMap<String, String>) -> Result<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").context("`{{` without `}}`")?;
        let value = values.get(name.trim());
        filled.push_str(before);
        filled.push_str(value.with_context(|| format!("no variable {}", name.trim()))?);
        rest = after;
    }
    Ok(filled + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_manifest() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spin.toml");
        let given = ["outport_config={}".to_owned(), "outport_secrets={}".to_owned()];
        let manifest = Manifest::read(&path, &given).unwrap();
        assert_eq!(manifest.variables["outport_config"], "{}");
        assert!(manifest.stores.contains("default") && !manifest.outbound.is_empty());
        assert!(Manifest::read(&path, &given[..1]).is_err());
    }

    #[test]
    fn what_is_not_served_is_refused() {
        let text = include_str!("../../../spin.toml");
        assert!(toml::from_str::<File>(text).is_ok());
        let text = text.replace("[component.edge]", "[component.edge]\nfiles = [\"*\"]");
        assert!(toml::from_str::<File>(&text).is_err());
    }

    #[test]
    fn variables_are_filled_in() {
        let values = BTreeMap::from([("a".to_owned(), "{1}".to_owned())]);
        assert_eq!(fill("x{{ a }}y{{a}}", &values).unwrap(), "x{1}y{1}");
        assert!(fill("{{ b }}", &values).is_err());
        assert!(fill("{{ a", &values).is_err());
    }
}
