//! From the settings and the deployment's keys to what the edge's core is told.

use std::time::{Duration, SystemTime};

use outport_edge_core::config::{Config as CoreConfig, Guest, Issuer};
use outport_edge_core::key_set::{Algorithm, Jwk};
use outport_edge_core::step::{Allowance, Share};
use outport_wire::rules::TenantRules;

use crate::failure::Failure;
use crate::issuers_config::{Issuers, issuers_config};
use crate::keys::Keys;
use crate::settings::{Limit, Settings};
use crate::token::{self, DEMO, ISSUER};

/// The life of the demo tenant's token; start or render again for a new one.
pub(crate) const DEMO_TOKEN_TTL: Duration = Duration::from_secs(30 * 86_400);

/// The largest file that an edge accepts by itself, if nothing is said.
pub(crate) const SMALL_UPLOAD_BYTES_MAX: u64 = 64 * 1024;

const SECOND_US: u64 = 1_000_000;

/// What a command says that the settings may not; they have the last word.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said {
    /// Pages on this machine get a token of the demo tenant.
    pub(crate) demo: bool,
    /// The origin is on the same machine: an edge that accepted files by itself would win nothing
    /// by it, and write them twice.
    pub(crate) beside_origin: bool,
}

/// The core's configuration, without the page.
pub(crate) fn core_config(
    settings: Settings,
    keys: &Keys,
    said: Said,
) -> Result<CoreConfig, Failure> {
    let small = small_upload_bytes_max(&settings, said);
    let guest = if settings.session.demo.unwrap_or(said.demo) { Some(guest(keys)?) } else { None };
    let (mut issuers, issuer_secrets) = issuers(&settings, keys)?;
    for issuer in &mut issuers {
        issuer.begins_sessions = settings.session.issuers.contains(&issuer.name);
    }
    let shares = settings.limits.iter().map(|(name, limit)| (name.clone(), limit.share));
    let shares = shares.filter(|(_, share)| *share != Share::default()).collect();
    let budgets = settings.limits.iter();
    let budgets = budgets.filter_map(|(name, limit)| Some((name.clone(), limit.budget?))).collect();
    let limits = settings.limits.into_iter();
    Ok(CoreConfig {
        issuers,
        issuer_secrets,
        link_keys: vec![keys.links.secret.clone()],
        session_keys: keys.sessions()?,
        sessions: settings.session.life,
        revoked_within_s: settings.edge.revoked_within_s,
        related_within_s: settings.edge.related_within_s,
        step_up_s: settings.edge.step_up_s,
        edge_key: keys.edge.clone(),
        operators: settings.edge.operators,
        guest,
        routes: settings.routes,
        limits: limits.map(|(name, limit)| (name, allowance(limit))).collect(),
        shares,
        budgets,
        assets: Default::default(),
        cors_origins: settings.cors_origins,
        public_base_url: settings.edge.public_base_url,
        content_base_url: settings.edge.content_base_url,
        trusted_proxies: settings.edge.trusted_proxies,
        country_field: settings.edge.country_field,
        firewall: settings.firewall,
        uploads: settings.rules.map(TenantRules::for_edge),
        small_upload_bytes_max: small,
        region: 0,
        request_bytes_max: None,
        stored_bytes_max: settings.cache.object_bytes_max,
        slice_bytes: settings.cache.slice_bytes,
        upstream_timeout_ms: settings.edge.upstream_timeout_ms,
    })
}

/// The largest file that the edge accepts by itself. None, where somebody is to be asked before
/// anything is created: the origin asks.
fn small_upload_bytes_max(settings: &Settings, said: Said) -> u64 {
    if settings.hooks.asked.is_some() {
        return 0;
    }
    let unsaid = if said.beside_origin { 0 } else { SMALL_UPLOAD_BYTES_MAX };
    settings.edge.small_upload_bytes_max.unwrap_or(unsaid)
}

fn allowance(limit: Limit) -> Allowance {
    let interval_us = SECOND_US / u64::from(limit.per_second.max(1));
    Allowance { interval_us: interval_us.max(1), burst: limit.burst }
}

/// All issuers that are trusted: the data folder's own, and those of the settings.
pub(crate) fn issuers(settings: &Settings, keys: &Keys) -> Result<Issuers, Failure> {
    let (others, secrets) = issuers_config(settings.issuers.clone())?;
    Ok((std::iter::once(own_issuer(keys)?).chain(others).collect(), secrets))
}

/// The data folder's own issuer.
fn own_issuer(keys: &Keys) -> Result<Issuer, Failure> {
    let key = keys.issuer_public()?;
    Ok(Issuer {
        name: ISSUER.to_owned(),
        audiences: vec![ISSUER.to_owned()],
        algorithms: vec![Algorithm::EdDsa],
        keys: vec![Jwk::ed25519(&key.id, &key.public)],
        is_own: true,
        ..Issuer::default()
    })
}

fn guest(keys: &Keys) -> Result<Guest, Failure> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(Guest {
        token: token::demo(keys, DEMO_TOKEN_TTL)?,
        tenant: DEMO.to_owned(),
        subject: DEMO.to_owned(),
        expires_s: (now + DEMO_TOKEN_TTL).as_secs(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn core(settings: Settings, said: Said) -> CoreConfig {
        let data = tempfile::tempdir().unwrap();
        core_config(settings, &Keys::open(data.path()).unwrap(), said).unwrap()
    }

    #[test]
    fn what_the_settings_say_reaches_the_core() {
        let text = "[uploads]\nsize_max_bytes = 5\n[tenants.acme]\nquota_files = 1\n[limits.api]\nper_second = 4\nburst = 9\nat_once = 3\n\
                    [[routes]]\npath = \"/x\"\nlimit = \"api\"\n";
        let core = core(crate::settings::parse(text).unwrap(), Said::default());
        assert_eq!(core.uploads.default.declared.size_max_bytes, 5);
        assert!(core.uploads.for_tenant("acme").more_at_origin);
        assert_eq!(core.limits["api"], Allowance { interval_us: 250_000, burst: 9 });
        let share = Share { at_once: Some(3), bytes_per_s: None, bytes: None };
        assert_eq!(core.shares, BTreeMap::from([("api".to_owned(), share)]));
        assert_eq!(core.limits["read"], Allowance { interval_us: 200, burst: 50_000 });
        assert_eq!(core.routes[0].limit.as_deref(), Some("api"));
        // It crosses into the component as JSON.
        CoreConfig::from_json(&core.to_json()).unwrap();
    }

    #[test]
    fn the_configuration_has_the_last_word_on_guests() {
        let demo = |configured, commanded| {
            let mut settings = Settings::default();
            settings.session.demo = configured;
            let said = Said { demo: commanded, ..Said::default() };
            core(settings, said).guest.is_some()
        };
        assert!(demo(None, true) && demo(Some(true), false));
        assert!(!demo(None, false) && !demo(Some(false), true));
    }

    #[test]
    fn an_edge_beside_its_origin_accepts_nothing_by_itself_unless_it_is_told_to() {
        let small = |text: &str, beside_origin| {
            let said = Said { beside_origin, ..Said::default() };
            core(crate::settings::parse(text).unwrap(), said).small_upload_bytes_max
        };
        assert_eq!((small("", false), small("", true)), (65_536, 0));
        let text = "[edge]\nsmall_upload_bytes_max = 5\n";
        assert_eq!((small(text, false), small(text, true)), (5, 5));
        let asked =
            format!("{text}[before_create]\nurl = \"http://127.0.0.1:1/\"\nsecret_file = \"s\"\n");
        assert_eq!(small(&asked, false), 0, "it would be accepted before anybody was asked");
    }
}
