//! A destination to the feed and back.

use std::time::Duration;

use super::{Invalid, id_of};
use crate::{
    model::{
        Ack, Change, Compression, Credentials, Destination, DestinationId, DestinationKind, Secret,
        UpstreamTls,
    },
    rpc::feed as wire,
};

// === impl wire::Destination ===

impl From<&Destination> for wire::Destination {
    fn from(destination: &Destination) -> Self {
        let (bearer, user, password) = match &destination.credentials {
            Credentials::None => Default::default(),
            Credentials::Bearer(token) => (token.reveal().to_owned(), String::new(), String::new()),
            Credentials::Basic { user, password } => {
                (String::new(), user.clone(), password.reveal().to_owned())
            }
        };
        let (certificate, key) = match &destination.tls.client_pem {
            None => Default::default(),
            Some((certificate, key)) => (certificate.clone(), key.reveal().to_owned()),
        };
        Self {
            id: destination.id.0,
            name: destination.name.clone(),
            kind: destination.kind.name().to_owned(),
            endpoints: destination.endpoints.clone(),
            headers: destination
                .headers
                .iter()
                .map(|(name, value)| wire::Header {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
            secret_headers: destination
                .secret_headers
                .iter()
                .map(|(name, value)| wire::Header {
                    name: name.clone(),
                    value: value.reveal().to_owned(),
                })
                .collect(),
            bearer,
            user,
            password,
            ca_pem: destination.tls.ca_pem.clone().unwrap_or_default(),
            client_certificate_pem: certificate,
            client_key_pem: key,
            server_name: destination.tls.server_name.clone().unwrap_or_default(),
            connect_timeout_ms: millis(destination.connect_timeout),
            request_timeout_ms: millis(destination.request_timeout),
            inflate: destination.compression == Compression::Identity,
            allow_link_local: destination.allow_link_local,
            ack: ack(destination.ack).into(),
        }
    }
}

fn ack(ack: Option<Ack>) -> wire::Ack {
    match ack {
        None => wire::Ack::Unspecified,
        Some(Ack::Destination) => wire::Ack::Destination,
        Some(Ack::Spool) => wire::Ack::Spool,
        Some(Ack::Spill) => wire::Ack::Spill,
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl wire::Destination {
    pub(super) fn into_model(self) -> Result<Change, Invalid> {
        // Of a number that it doesn't know, prost says what 0 is.
        let ack = match self.ack() {
            wire::Ack::Unspecified => None,
            wire::Ack::Destination => Some(Ack::Destination),
            wire::Ack::Spool => Some(Ack::Spool),
            wire::Ack::Spill => Some(Ack::Spill),
        };
        let id = DestinationId(id_of(self.id, "destination id")?);
        let Some(kind) = DestinationKind::parse(&self.kind) else {
            // It has become something that only a newer version delivers to: nothing may go on to where it was.
            return Ok(Change::DestinationRemoved(id));
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        let credentials = match (some(self.bearer), some(self.user)) {
            (Some(token), _) => Credentials::Bearer(Secret::new(token)),
            (None, Some(user)) => Credentials::Basic {
                user,
                password: Secret::new(self.password),
            },
            (None, None) => Credentials::None,
        };
        let mut destination = Destination::new(id, &self.name, kind);
        destination.endpoints = self.endpoints;
        destination.headers = self
            .headers
            .into_iter()
            .map(|header| (header.name, header.value))
            .collect();
        destination.secret_headers = self
            .secret_headers
            .into_iter()
            .map(|header| (header.name, Secret::new(header.value)))
            .collect();
        destination.credentials = credentials;
        destination.tls = UpstreamTls {
            ca_pem: some(self.ca_pem),
            client_pem: some(self.client_certificate_pem)
                .map(|certificate| (certificate, Secret::new(self.client_key_pem))),
            server_name: some(self.server_name),
        };
        if self.connect_timeout_ms != 0 {
            destination.connect_timeout = Duration::from_millis(self.connect_timeout_ms.into());
        }
        if self.request_timeout_ms != 0 {
            destination.request_timeout = Duration::from_millis(self.request_timeout_ms.into());
        }
        destination.compression = if self.inflate {
            Compression::Identity
        } else {
            Compression::AsReceived
        };
        destination.allow_link_local = self.allow_link_local;
        destination.ack = ack;
        Ok(Change::Destination(destination))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_that_becomes_a_kind_from_the_future_is_no_longer_delivered_to() {
        let destination = Destination::new(DestinationId(4), "mimir", DestinationKind::Http);
        let mut destination = wire::Destination::from(&destination);
        destination.kind = "quantum".into();
        let change = wire::Change {
            change: Some(wire::change::Change::Destination(destination)),
        };
        assert_eq!(
            change.into_model().expect("valid"),
            Some(Change::DestinationRemoved(DestinationId(4)))
        );
    }

    #[test]
    fn every_ack_survives_the_feed_and_one_from_the_future_is_the_default() {
        let mut destination = Destination::new(DestinationId(4), "mimir", DestinationKind::Http);
        for ack in [None].into_iter().chain(Ack::ALL.map(Some)) {
            destination.ack = ack;
            let sent = wire::Destination::from(&destination);
            assert_eq!(sent.ack == 0, ack.is_none(), "{ack:?}");
            let read = sent.into_model().expect("valid");
            assert_eq!(read, Change::Destination(destination.clone()));
        }
        for number in [4, 99, -1] {
            let mut sent = wire::Destination::from(&destination);
            sent.ack = number;
            let Change::Destination(read) = sent.into_model().expect("valid") else {
                panic!("{number}: it is delivered to as before");
            };
            assert_eq!(read.ack, None, "{number}");
        }
    }
}
