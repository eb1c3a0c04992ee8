//! `outport render`: the configuration, the deployment's keys and the page in the form that a
//! platform's own command line takes.
//!
//! Each platform's form is a plain function from a [`Source`] to files and commands; what is
//! common to them, and all that touches the disk, is here.

mod cloudflare;
mod fastly;
mod output;
mod spin;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outport_edge_core::deployment::{Deployment, pieces};
use outport_edge_core::platform::Platform;
use outport_edge_core::step::Upstream;
use reqwest::Url;

use crate::core_config::{DEMO_TOKEN_TTL, Said, core_config};
use crate::failure::Failure;
use crate::keys::Keys;
use crate::node::embedded;
use crate::settings::{self, Mistake, Mistakes};
use crate::target::Target;
use output::{File, Rendered};

const DAY_S: u64 = 86_400;

/// Renders configuration, keys and page for a platform's own command line.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The platform
    #[arg(long = "for", value_enum, value_name = "PLATFORM")]
    target: Target,
    /// The origin's address, as the platform reaches it
    #[arg(long, value_name = "URL")]
    origin: Url,
    /// The configuration [default: outport.toml here, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder whose keys the edge gets: the origin's
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Give pages that are opened on this machine a token of the demo tenant
    #[arg(long)]
    demo: bool,
    /// The folder to write to; it is made where there is none
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let config = settings::locate(args.config.as_deref());
    let settings = settings::load(config.as_deref())?;
    let origin = base_url(&args.origin)?;
    let said = Said { demo: args.demo, ..Said::default() };
    let mut core = core_config(settings, &Keys::open(&args.data)?, said)?;
    let (assets, values) = outport_edge_host::assets(embedded::PAGE);
    core.assets = assets;
    core.request_bytes_max = args.target.platform().bounds.request_body_bytes;
    let source = Source {
        platform: args.target.platform(),
        deployment: Deployment { core, origin },
        values,
        out: output::folder(&args.out)?,
    };
    let rendered = source.render(args.target).map_err(|problem| problem.failure(config))?;
    output::write(&source.out, &rendered.files)?;
    output::report(source.platform, &source.out, &rendered)?;
    match source.deployment.core.guest {
        Some(_) => crate::output::line(&format!(
            "\nThe guest's token is good for {} days; render again before.",
            DEMO_TOKEN_TTL.as_secs() / DAY_S
        )),
        None => Ok(()),
    }
}

/// What is rendered.
struct Source {
    platform: &'static Platform,
    deployment: Deployment,
    /// The page's values, by key.
    values: BTreeMap<String, &'static [u8]>,
    /// The folder that the files will be in, from the root on.
    out: PathBuf,
}

/// Why a source has no form on its platform.
#[derive(Debug)]
enum Problem {
    /// The configuration is larger than the platform takes.
    Configuration(String),
    /// A value is.
    Value(String),
    /// The platform's manifest here can't be read.
    Manifest(Failure),
}

impl Problem {
    fn failure(self, config: Option<PathBuf>) -> Failure {
        match self {
            Self::Configuration(wrong) => {
                let file = config.unwrap_or_else(|| settings::DEFAULT_FILE.into());
                let right = settings::SMALLER.to_owned();
                let mistakes = vec![Mistake { line: 1, column: 1, wrong, right }];
                let file = file.display().to_string();
                Failure::Configuration(vec![Mistakes { file, mistakes }])
            }
            Self::Value(message) => Failure::Process(message),
            Self::Manifest(failure) => failure,
        }
    }
}

impl Source {
    fn render(&self, target: Target) -> Result<Rendered, Problem> {
        self.check_values()?;
        match target {
            Target::Cloudflare => cloudflare::render(self),
            Target::Fastly => fastly::render(self, Path::new(target.manifest())),
            Target::Spin => spin::render(self),
        }
    }

    /// No value is longer than the platform takes.
    fn check_values(&self) -> Result<(), Problem> {
        let most = self.platform.bounds.value_bytes.unwrap_or(u64::MAX);
        let long = self.values.iter().find(|(_, value)| value.len() as u64 > most);
        match long {
            None => Ok(()),
            Some((key, value)) => Err(Problem::Value(format!(
                "the value \"{key}\" has {} bytes, and {} takes {most}",
                value.len(),
                self.platform.name
            ))),
        }
    }

    /// The configuration in named pieces.
    fn config(&self, name: &str) -> Result<Vec<(String, String)>, Problem> {
        let bytes_max = self.platform.bounds.config_piece_bytes.unwrap_or(usize::MAX);
        pieces(name, &self.deployment.to_parts().0, bytes_max).map_err(Problem::Configuration)
    }

    /// The secrets in named pieces.
    fn secrets(&self, name: &str) -> Result<Vec<(String, String)>, Problem> {
        let bytes_max = self.platform.bounds.secret_piece_bytes.unwrap_or(usize::MAX);
        pieces(name, &self.deployment.to_parts().1, bytes_max).map_err(Problem::Configuration)
    }

    /// The upstreams that the deployment has, and their addresses.
    fn upstreams(&self) -> Vec<(Upstream, Url)> {
        let routes =
            (0..self.deployment.core.routes.len()).filter_map(|place| u16::try_from(place).ok());
        std::iter::once(Upstream::Origin)
            .chain(routes.map(Upstream::Route))
            .filter_map(|upstream| {
                let url = self.deployment.url(upstream)?;
                Some((upstream, Url::parse(url).ok()?))
            })
            .collect()
    }

    /// One file per value, below `values/`, with the value's key.
    fn value_files(&self) -> Vec<(&str, File)> {
        let mut files = Vec::new();
        for (place, (key, value)) in self.values.iter().enumerate() {
            files.push((key.as_str(), File::open(format!("values/{place:03}"), *value)));
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }
}

/// An address without a slash at its end, if it is one that an edge can send requests to.
fn base_url(url: &Url) -> Result<String, Failure> {
    let plain = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
    if plain && url.has_host() && matches!(url.scheme(), "http" | "https") {
        return Ok(url.as_str().trim_end_matches('/').to_owned());
    }
    Err(Failure::Usage(format!(
        "{url} is no address of an origin: --origin takes http://HOST[:PORT] or https://HOST[:PORT]"
    )))
}

fn base64(value: &[u8]) -> String {
    STANDARD.encode(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source with the settings of `text` and a page of two files.
    pub(super) fn source(target: Target, text: &str) -> Source {
        let data = tempfile::tempdir().unwrap();
        let settings = settings::parse(text).unwrap();
        let said = Said { demo: true, ..Said::default() };
        let core = core_config(settings, &Keys::open(data.path()).unwrap(), said).unwrap();
        let values: [(&str, &'static [u8]); 2] =
            [("page a.js t br", &[0xff, 0, 1]), ("page it's t", b"a")];
        Source {
            platform: target.platform(),
            deployment: Deployment { core, origin: "http://127.0.0.1:8081".into() },
            values: values.map(|(key, value)| (key.to_owned(), value)).into(),
            out: "/out".into(),
        }
    }

    /// A rendered file, read as JSON.
    pub(super) fn read(rendered: &Rendered, name: &str) -> serde_json::Value {
        let file = rendered.files.iter().find(|file| file.name == name).unwrap();
        serde_json::from_slice(&file.content).unwrap()
    }

    #[test]
    fn a_value_over_the_bound_is_refused_with_the_bound() {
        let mut source = source(Target::Cloudflare, "");
        let long: &'static [u8] = vec![0; 25 * 1024 * 1024 + 1].leak();
        source.values.insert("page long".into(), long);
        let Err(Problem::Value(wrong)) = source.render(Target::Cloudflare) else {
            panic!("it is taken");
        };
        assert_eq!(
            wrong,
            "the value \"page long\" has 26214401 bytes, and Cloudflare Workers takes 26214400"
        );
    }

    #[test]
    fn a_configuration_over_the_bound_is_refused_with_the_bound() {
        let route = |number: usize| {
            let path = format!("/{}{number}", "x".repeat(900));
            format!("[[routes]]\npath = \"{path}\"\n")
        };
        let long: String = (0..200).map(route).collect();
        for target in [Target::Cloudflare, Target::Fastly] {
            let Err(problem) = source(target, &long).render(target) else { panic!("{target:?}") };
            let failure = problem.failure(Some("my.toml".into()));
            let piece = target.platform().bounds.config_piece_bytes.unwrap();
            let told = failure.to_string();
            assert!(told.starts_with("my.toml:1:1: "), "{told}");
            assert!(told.contains(&format!("the platform takes {}", 16 * piece)), "{told}");
            assert_eq!(failure.exit_code(), 5);
        }
        assert!(source(Target::Spin, &long).render(Target::Spin).is_ok());
    }

    #[test]
    fn addresses_of_an_origin() {
        let base = |text: &str| base_url(&Url::parse(text).unwrap());
        assert_eq!(base("http://a:81/").unwrap(), "http://a:81");
        assert_eq!(base("https://a/b/").unwrap(), "https://a/b");
        for wrong in ["ftp://a", "http://me@a", "http://a/?q", "mailto:a@b"] {
            assert!(matches!(base(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
