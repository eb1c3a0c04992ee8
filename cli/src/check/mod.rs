//! `outport check`: everything that is wrong with a configuration and, for a platform, everything
//! that would fail there once it is deployed.

mod cloudflare;
mod fastly;
mod hosts;
mod manifest;
mod spin;

use std::path::{Path, PathBuf};

use outport_edge_core::deployment::{Deployment, backend, pieces};
use outport_edge_core::step::{Share, Upstream};
use reqwest::Url;
use serde_json::json;

use crate::core_config::{Said, core_config};
use crate::failure::Failure;
use crate::keys::Keys;
use crate::node::embedded;
use crate::output;
use crate::settings::{self, LoadError, Mistake, Mistakes, Settings, Sink};
use crate::target::Target;

/// Checks a configuration and says all that is wrong with it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file to check
    #[arg(long, value_name = "FILE", default_value = settings::DEFAULT_FILE)]
    config: PathBuf,
    /// Check the platform's own manifest too, and what the platform bounds
    #[arg(long = "for", value_enum, value_name = "PLATFORM")]
    target: Option<Target>,
    /// The platform's manifest [default: wrangler.toml, fastly.toml or spin.toml here]
    #[arg(long, value_name = "FILE", requires = "target")]
    manifest: Option<PathBuf>,
    /// The origin's address, to check that the manifest lets the edge reach it
    #[arg(long, value_name = "URL", requires = "target")]
    origin: Option<Url>,
    /// Print the outcome as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let found = match (settings::load(Some(&args.config)), args.target) {
        (Ok(settings), Some(target)) => on_platform(args, target, settings)?,
        (Ok(_), None) => vec![named(&args.config, Vec::new())],
        (Err(LoadError::Wrong(wrong)), _) => vec![wrong],
        (Err(error), _) => return Err(error.into()),
    };
    report(args, found)
}

/// What is checked on a platform.
struct Subject {
    target: Target,
    settings: Settings,
    /// The origin's address, if it is known.
    origin: Option<Url>,
}

fn on_platform(args: &Args, target: Target, settings: Settings) -> Result<Vec<Mistakes>, Failure> {
    let manifest = args.manifest.clone().unwrap_or_else(|| target.manifest().into());
    let config_text = read(&args.config)?;
    let manifest_text = read(&manifest)?;
    let subject = Subject { target, settings, origin: args.origin.clone() };
    Ok(vec![
        named(&args.config, subject.configuration(&config_text)?),
        named(&manifest, subject.manifest(&manifest_text)),
    ])
}

fn named(path: &Path, mistakes: Vec<Mistake>) -> Mistakes {
    Mistakes { file: path.display().to_string(), mistakes }
}

fn read(path: &Path) -> Result<String, Failure> {
    settings::read_text(path).map_err(|source| Failure::io("read", path, source))
}

impl Subject {
    /// What the platform would not take of a configuration that is right in itself.
    fn configuration(&self, text: &str) -> Result<Vec<Mistake>, Failure> {
        let sink = Sink::default();
        if let Err(wrong) = self.fits()? {
            sink.note(0, wrong, settings::SMALLER);
        }
        if let Some(at) = settings::origin_tls(text) {
            let wrong =
                format!("[edge.origin_tls] has no effect on {}", self.target.platform().name);
            let right = "the platform checks the origin's certificate by its own list, and shows none \
                         that is named here: give the origin one that is publicly trusted";
            sink.note(at, wrong, right);
        }
        if !self.target.platform().abilities.shares
            && self.settings.limits.values().any(|limit| limit.share != Share::default())
        {
            let platform = self.target.platform().name;
            let wrong =
                format!("at_once, bytes_per_second and bytes have no effect on {platform}, so far");
            sink.note(0, wrong, "leave them out, or let `outport edge` serve it");
        }
        if let Some(rule) = self.settings.unanswered_rule(self.target.platform()) {
            let platform = self.target.platform().name;
            let wrong = format!("rule {rule} asks where clients are, and {platform} does not tell");
            sink.note(0, wrong, settings::NAME_COUNTRY_FIELD);
        }
        for (place, route) in self.settings.routes.iter().enumerate() {
            let unreachable = route.proxy.as_deref().and_then(|proxy| self.unreachable(proxy));
            if let Some((wrong, right)) = unreachable {
                let at = settings::route_value(text, place, "proxy");
                sink.note(at.unwrap_or_default(), wrong, right);
            }
            let platform = self.target.platform();
            let abilities = platform.abilities;
            for (key, lacks, does) in [
                (
                    "esi",
                    route.esi && !abilities.fragments,
                    "composes no pages: templates are sent as they are",
                ),
                (
                    "dictionaries",
                    route.dictionaries && !abilities.dictionaries,
                    "encodes nothing against dictionaries",
                ),
            ] {
                if lacks {
                    let at = settings::route_value(text, place, key).unwrap_or_default();
                    let right = format!("leave {key} out, or let `outport edge` serve it");
                    sink.note(at, format!("{} {does}", platform.name), right);
                }
            }
        }
        Ok(sink.into_mistakes(text))
    }

    /// Whether the platform takes a configuration of this size. What is only known when it is
    /// rendered is taken to be as large as it can be: keys are those of a data folder of no one.
    fn fits(&self) -> Result<Result<(), String>, Failure> {
        let bounds = &self.target.platform().bounds;
        let keys = Keys::fresh();
        let keys = keys.map_err(|source| Failure::Io { what: "can't make keys".into(), source })?;
        let said = Said { demo: true, ..Said::default() };
        let mut core = core_config(self.settings.clone(), &keys, said)?;
        core.assets = outport_edge_host::assets(embedded::PAGE).0;
        let origin = self.origin.as_ref().map(Url::to_string).unwrap_or_default();
        let (config, secrets) = Deployment { core, origin }.to_parts();
        let cut = |name, text: &str, bytes_max: Option<usize>| {
            pieces(name, text, bytes_max.unwrap_or(usize::MAX)).map(drop)
        };
        Ok(cut("the configuration", &config, bounds.config_piece_bytes)
            .and_then(|()| cut("the secrets", &secrets, bounds.secret_piece_bytes)))
    }

    /// Why an edge on the platform can't reach what a route proxies.
    fn unreachable(&self, proxy: &str) -> Option<(String, &'static str)> {
        let url = Url::parse(proxy).ok()?;
        let kind = hosts::Kind::of(&url);
        let name = self.target.platform().name;
        let right = "name the server as the platform reaches it, or leave this check out for a \
                     run on this machine";
        match (self.target, kind) {
            (Target::Cloudflare, hosts::Kind::Address) => {
                Some((format!("{name} sends no request to a bare address: \"{proxy}\""), right))
            }
            (Target::Cloudflare | Target::Fastly, hosts::Kind::Loopback) => {
                Some((format!("on {name}, \"{proxy}\" is the platform's own machine"), right))
            }
            _ => None,
        }
    }

    fn manifest(&self, text: &str) -> Vec<Mistake> {
        manifest::check(text, |table, sink| match self.target {
            Target::Cloudflare => cloudflare::check(self, table, sink),
            Target::Fastly => fastly::check(self, table, sink),
            Target::Spin => spin::check(self, table, sink),
        })
    }

    /// Where the issuers are that are asked for their keys, and their names.
    fn issuers(&self) -> Vec<(&str, Url)> {
        let asked = self.settings.issuers.iter().filter(|trusted| trusted.issuer.publishes);
        let asked = asked.filter_map(|trusted| {
            let issuer = &trusted.issuer;
            let url = issuer.keys_url.as_deref().unwrap_or(&issuer.name);
            Some((issuer.name.as_str(), Url::parse(url).ok()?))
        });
        asked.collect()
    }

    /// The upstreams whose addresses are known, and their names.
    fn upstreams(&self) -> Vec<(String, Url)> {
        let origin = self.origin.clone().map(|url| (backend(Upstream::Origin), url));
        let routes = self.settings.routes.iter().enumerate().filter_map(|(place, route)| {
            let url = Url::parse(route.proxy.as_deref()?).ok()?;
            Some((backend(Upstream::Route(u16::try_from(place).ok()?)), url))
        });
        origin.into_iter().chain(routes).collect()
    }
}

/// Says what was found, and fails where it is anything.
fn report(args: &Args, found: Vec<Mistakes>) -> Result<(), Failure> {
    let right = found.iter().all(|file| file.mistakes.is_empty());
    if args.json {
        output::json(&document(args, &found, right))?;
    } else if right {
        let files: Vec<&str> = found.iter().map(|file| file.file.as_str()).collect();
        let verb = if files.len() == 1 { "is" } else { "are" };
        output::line(&format!("{} {verb} right", files.join(" and ")))?;
    }
    if right {
        return Ok(());
    }
    Err(Failure::Configuration(
        found.into_iter().filter(|file| !file.mistakes.is_empty()).collect(),
    ))
}

fn document(args: &Args, found: &[Mistakes], right: bool) -> serde_json::Value {
    let [config, rest @ ..] = found else { return json!(null) };
    let Mistakes { file, mistakes } = config;
    match args.target {
        None => json!({ "file": file, "right": right, "mistakes": mistakes }),
        Some(target) => json!({
            "file": file,
            "right": right,
            "mistakes": mistakes,
            "platform": target.platform().key,
            "manifest": rest.first(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(target: Target, config: &str, origin: Option<&str>) -> Subject {
        let origin = origin.map(|url| Url::parse(url).unwrap());
        Subject { target, settings: settings::parse(config).unwrap(), origin }
    }

    fn lines(mistakes: Vec<Mistake>) -> Vec<String> {
        let line =
            |Mistake { line, column, wrong, right }| format!("{line}:{column} {wrong} | {right}");
        mistakes.into_iter().map(line).collect()
    }

    /// The mistakes of a manifest, one a line: place, what is wrong, what would be right.
    pub(super) fn mistakes(
        target: Target,
        config: &str,
        manifest: &str,
        origin: Option<&str>,
    ) -> Vec<String> {
        lines(subject(target, config, origin).manifest(manifest))
    }

    fn of_configuration(target: Target, config: &str) -> Vec<String> {
        lines(subject(target, config, None).configuration(config).unwrap())
    }

    #[test]
    fn what_is_under_way_is_counted_by_our_own_node_alone() {
        let found = of_configuration(Target::Fastly, "[limits.read]\nat_once = 5\n");
        assert_eq!(
            found,
            [
                "1:1 at_once, bytes_per_second and bytes have no effect on Fastly Compute, so far | leave \
              them out, or let `outport edge` serve it"
            ]
        );
    }

    #[test]
    fn somebody_must_tell_where_clients_are() {
        let rule = "[[firewall.rules]]\nname = \"here\"\nmatch = { paths = \"*\" }\n\
                    unless = { countries = [\"DE\"] }\naction = \"deny\"\n";
        assert_eq!(
            of_configuration(Target::Spin, rule),
            [
                "1:1 rule here asks where clients are, and Spin does not tell | name the field in which a \
              proxy tells: country_field in [edge]"
            ]
        );
        let told = "[edge]\ntrusted_proxies = [\"::1\"]\ncountry_field = \"x-country\"\n";
        assert_eq!(of_configuration(Target::Spin, &format!("{told}{rule}")), [""; 0]);
        assert_eq!(of_configuration(Target::Fastly, rule), [""; 0]);
        assert_eq!(of_configuration(Target::Cloudflare, rule), [""; 0]);
    }

    #[test]
    fn a_configuration_over_the_bound() {
        let route =
            |number: usize| format!("[[routes]]\npath = \"/{}{number}\"\n", "x".repeat(900));
        let long: String = (0..200).map(route).collect();
        let found = of_configuration(Target::Cloudflare, &long);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("1:1 the configuration has "), "{found:?}");
        assert!(found[0].contains("and the platform takes 80000 | fewer or shorter routes, rules"));
        assert_eq!(of_configuration(Target::Spin, &long), [""; 0]);
    }

    #[test]
    fn servers_that_a_platform_does_not_reach() {
        let config = "[[routes]]\npath = \"/a\"\nproxy = \"http://a.example.com\"\n\
                      [[routes]]\npath = \"/b\"\nproxy = \"http://127.0.0.1:8000\"\n\
                      [[routes]]\npath = \"/c\"\nproxy = \"http://192.0.2.1\"\n";
        let places = |target| -> Vec<String> {
            let found = of_configuration(target, config);
            found.iter().map(|mistake| mistake.split(" | ").next().unwrap().to_owned()).collect()
        };
        assert_eq!(
            places(Target::Cloudflare),
            [
                "6:9 on Cloudflare Workers, \"http://127.0.0.1:8000\" is the platform's own machine",
                "9:9 Cloudflare Workers sends no request to a bare address: \"http://192.0.2.1\"",
            ]
        );
        assert_eq!(
            places(Target::Fastly),
            ["6:9 on Fastly Compute, \"http://127.0.0.1:8000\" is the platform's own machine"]
        );
        assert_eq!(places(Target::Spin), [""; 0]);
    }

    #[test]
    fn certificates_that_a_platform_does_not_know() {
        let config = "[edge.tls]\ncertificate_file = \"a\"\nkey_file = \"b\"\n[edge.origin_tls]\n\
                      ca_file = \"c\"\n";
        for target in [Target::Cloudflare, Target::Fastly, Target::Spin] {
            let found = of_configuration(target, config);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with("4:1 [edge.origin_tls] has no effect on "), "{found:?}");
        }
    }

    #[test]
    fn pages_that_a_platform_does_not_compose() {
        let config = "[[routes]]\npath = \"/a\"\ncache = true\nesi = true\n";
        for (target, name) in [
            (Target::Cloudflare, "Cloudflare Workers"),
            (Target::Fastly, "Fastly Compute"),
            (Target::Spin, "Spin"),
        ] {
            let found = of_configuration(target, config);
            assert_eq!(
                found,
                [format!(
                    "4:7 {name} composes no pages: templates are sent as they are | leave esi out, or \
                     let `outport edge` serve it"
                )]
            );
        }
    }

    #[test]
    fn dictionaries_that_a_platform_does_not_use() {
        let config = "[[routes]]\npath = \"/a\"\nauth = \"none\"\ncache = true\ncompress = true\n\
                      dictionaries = true\n";
        for (target, name) in [
            (Target::Cloudflare, "Cloudflare Workers"),
            (Target::Fastly, "Fastly Compute"),
            (Target::Spin, "Spin"),
        ] {
            let found = of_configuration(target, config);
            assert_eq!(
                found,
                [format!(
                    "6:16 {name} encodes nothing against dictionaries | leave dictionaries out, or let \
                     `outport edge` serve it"
                )]
            );
        }
    }

    #[test]
    fn a_manifest_that_is_no_toml_has_that_mistake_alone() {
        let found = mistakes(Target::Cloudflare, "", "name = \n", None);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("1:"), "{found:?}");
        assert!(found[0].contains("this is no TOML"), "{found:?}");
    }
}
