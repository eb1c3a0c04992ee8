//! What is told: events, their names, and the forms they are sent in.

use std::fmt;
use std::str::FromStr;

use outport_wire::id::FileId;
use outport_wire::time::rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::config::Format;

/// What all types of events begin with.
const TYPE_PREFIX: &str = "outport.file.";

/// What has happened to a file, or to an upload that was not to become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// All of it has arrived.
    Completed,
    /// Somebody removed it.
    Removed,
    /// Its time was over, and it was removed.
    Expired,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 3] = [Self::Completed, Self::Removed, Self::Expired];

    /// Its name in configurations and ids.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Removed => "removed",
            Self::Expired => "expired",
        }
    }
}

/// Names one event, the same in every attempt to tell of it: each happens to a file once. Receivers
/// that have seen an id may pass over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EventId {
    pub(crate) kind: Kind,
    pub(crate) file: FileId,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind.name(), self.file)
    }
}

/// A text names no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no event's id")]
pub(crate) struct NoEventId;

impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<Self, NoEventId> {
        let (name, file) = text.split_once('-').ok_or(NoEventId)?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or(NoEventId)?;
        Ok(Self { kind, file: file.parse().map_err(|_| NoEventId)? })
    }
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: EventId,
    /// When, to the nearest commit.
    pub(crate) at_ms: u64,
    /// The file's document, as it was then.
    pub(crate) file: Value,
}

/// Whom a file belongs to, by its document.
pub(crate) fn tenant(document: &Value) -> &str {
    document.get("tenant").and_then(Value::as_str).unwrap_or_default()
}

/// What is sent of an event, signatures aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) content_type: &'static str,
    /// Fields of the head that belong to the form.
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Event {
    /// As it is sent. `source` names the origin.
    pub(crate) fn message(&self, format: Format, source: &str) -> Message {
        match format {
            Format::Standard => self.standard(),
            Format::CloudEvents => self.structured(source),
            Format::CloudEventsBinary => self.binary(source),
        }
    }

    /// Standard Webhooks, "Payload structure".
    fn standard(&self) -> Message {
        let document =
            json!({ "type": self.type_name(), "timestamp": self.time(), "data": self.file });
        Message {
            content_type: "application/json",
            fields: Vec::new(),
            body: document.to_string().into_bytes(),
        }
    }

    /// CloudEvents 1.0.2, HTTP protocol binding, section 3.2.
    fn structured(&self, source: &str) -> Message {
        let constant = [("specversion", "1.0"), ("datacontenttype", "application/json")];
        let texts = constant.map(|(name, value)| (name, value.to_owned())).into_iter();
        let members = texts.chain(self.attributes(source)).map(|(name, text)| (name, text.into()));
        let document: Map<String, Value> = members
            .chain([("data", self.file.clone())])
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Message {
            content_type: "application/cloudevents+json",
            fields: Vec::new(),
            body: Value::Object(document).to_string().into_bytes(),
        }
    }

    /// CloudEvents 1.0.2, HTTP protocol binding, section 3.1. All values are visible ASCII, so none
    /// has to be encoded.
    fn binary(&self, source: &str) -> Message {
        let names = ["ce-id", "ce-source", "ce-type", "ce-subject", "ce-time"];
        let attributes = names.into_iter().zip(self.attributes(source).map(|(_, value)| value));
        Message {
            content_type: "application/json",
            fields: [("ce-specversion", "1.0".to_owned())].into_iter().chain(attributes).collect(),
            body: self.file.to_string().into_bytes(),
        }
    }

    fn attributes(&self, source: &str) -> [(&'static str, String); 5] {
        [
            ("id", self.id.to_string()),
            ("source", source.to_owned()),
            ("type", self.type_name()),
            ("subject", self.id.file.to_string()),
            ("time", self.time()),
        ]
    }

    fn type_name(&self) -> String {
        format!("{TYPE_PREFIX}{}", self.id.kind.name())
    }

    fn time(&self) -> String {
        rfc3339(self.at_ms / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "01000G0000000C000000000004";

    fn event() -> Event {
        let id = EventId { kind: Kind::Completed, file: FILE.parse().unwrap() };
        Event { id, at_ms: 1_800_000_000_999, file: json!({ "name": "ü" }) }
    }

    #[test]
    fn ids_come_back() {
        for kind in Kind::ALL {
            let id = EventId { kind, file: FILE.parse().unwrap() };
            assert_eq!(id.to_string().parse(), Ok(id));
            // Standard Webhooks joins id, time and payload by full stops.
            assert!(!id.to_string().contains('.'));
        }
        for text in ["", "completed", "completed-x", &format!("made-{FILE}")] {
            assert_eq!(text.parse::<EventId>(), Err(NoEventId));
        }
    }

    #[test]
    fn standard_webhooks() {
        let Message { content_type, fields, body } = event().message(Format::Standard, "urn:x");
        assert_eq!((content_type, fields), ("application/json", vec![]));
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({
                "type": "outport.file.completed",
                "timestamp": "2027-01-15T08:00:00Z",
                "data": { "name": "ü" },
            })
        );
    }

    #[test]
    fn cloud_events_structured() {
        let Message { content_type, fields, body } = event().message(Format::CloudEvents, "urn:x");
        assert_eq!((content_type, fields), ("application/cloudevents+json", vec![]));
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({
                "specversion": "1.0",
                "id": format!("completed-{FILE}"),
                "source": "urn:x",
                "type": "outport.file.completed",
                "subject": FILE,
                "time": "2027-01-15T08:00:00Z",
                "datacontenttype": "application/json",
                "data": { "name": "ü" },
            })
        );
    }

    #[test]
    fn cloud_events_binary() {
        let message = event().message(Format::CloudEventsBinary, "urn:x");
        assert_eq!(message.content_type, "application/json");
        let fields: Vec<_> = message.fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(
            fields,
            [
                ("ce-specversion", "1.0"),
                ("ce-id", &*format!("completed-{FILE}")),
                ("ce-source", "urn:x"),
                ("ce-type", "outport.file.completed"),
                ("ce-subject", FILE),
                ("ce-time", "2027-01-15T08:00:00Z"),
            ]
        );
        assert_eq!(message.body, "{\"name\":\"ü\"}".as_bytes());
    }
}
