//! Every gateway that was not retired, whichever control plane of the store it follows.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use utoipa::ToSchema;

use super::Gateway;
use crate::control::{Error, record::GatewayRow, store::Store};

/// Which control plane a gateway is connected to, seen from the one that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::control) enum At {
    This,
    /// As it was seen to say within the last minute, or was found when we first looked, less than a minute ago.
    Another,
}

/// Everybody by name, and where each is connected.
pub(in crate::control) async fn everybody(
    store: &Store,
) -> Result<Vec<(Gateway, Option<At>)>, Error> {
    let gateways = &store.publisher().gateways;
    if !store.is_shared() {
        return Ok(gateways.list().into_iter().map(known_here).collect());
    }
    // Before the rows: a stream that ends in between has left its last word there.
    let (held, ours) = (gateways.held(), gateways.list());
    let rows = store.gateways().await?;
    Ok(merged(rows, &held, ours, |row| gateways.is_held(row)))
}

/// Of a gateway whose stream is ours our memory is fresher, of any other one the row counts.
fn merged(
    rows: Vec<GatewayRow>,
    held: &HashMap<String, (u64, u64)>,
    ours: Vec<Gateway>,
    is_held: impl Fn(&GatewayRow) -> bool,
) -> Vec<(Gateway, Option<At>)> {
    let connected = ours
        .into_iter()
        .filter(|gateway| gateway.connected_since.is_some());
    let mut ours: BTreeMap<_, _> = connected
        .map(|gateway| (gateway.name.clone(), gateway))
        .collect();
    let mut all = BTreeMap::new();
    for row in rows {
        let name = row.name.clone();
        let holder = held.get(&name).map(|(holder, _)| *holder);
        let seen = match ours.remove(&name) {
            Some(gateway) if holder == Some(row.holder) => known_here(gateway),
            _ => {
                let at = is_held(&row).then_some(At::Another);
                (known_by(row), at)
            }
        };
        all.insert(name, seen);
    }
    // Connected, and not or no longer in the store: it serves all the same.
    for (name, gateway) in ours {
        all.insert(name, known_here(gateway));
    }
    all.into_values().collect()
}

fn known_here(gateway: Gateway) -> (Gateway, Option<At>) {
    let at = gateway.connected_since.map(|_| At::This);
    (gateway, at)
}

fn known_by(row: GatewayRow) -> Gateway {
    Gateway {
        name: row.name,
        version: row.version,
        revision: row.revision,
        connected_since: None,
        last_seen_at: row.last_seen_at,
        last_acknowledged_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, revision: u64, holder: u64) -> GatewayRow {
        GatewayRow {
            name: name.to_owned(),
            instance: name.to_owned(),
            version: "1".to_owned(),
            revision,
            last_seen_at: 1,
            holder,
        }
    }

    fn connected(name: &str, revision: u64) -> Gateway {
        let mut gateway = known_by(row(name, revision, 0));
        gateway.connected_since = Some(1);
        gateway
    }

    #[test]
    fn those_of_other_control_planes_stand_beside_our_own() {
        let rows = vec![
            row("away", 3, 0),
            row("crashed", 4, 8),
            row("moved", 6, 9),
            row("ours", 5, 7),
            row("theirs", 6, 8),
        ];
        let held = [("moved", (1, 2)), ("new", (2, 1)), ("ours", (7, 8))];
        let held = held.map(|(name, at)| (name.to_owned(), at)).into();
        let mut known = vec![
            connected("moved", 2),
            connected("new", 1),
            connected("ours", 8),
        ];
        // Retired elsewhere, and remembered here alone.
        known.push(known_by(row("retired", 1, 0)));
        let all = merged(rows, &held, known, |row| {
            row.holder != 0 && row.name != "crashed"
        });
        let told: Vec<_> = all
            .iter()
            .map(|(gateway, at)| (gateway.name.as_str(), gateway.revision, *at))
            .collect();
        assert_eq!(
            told,
            [
                ("away", 3, None),
                ("crashed", 4, None),
                ("moved", 6, Some(At::Another)),
                ("new", 1, Some(At::This)),
                ("ours", 8, Some(At::This)),
                ("theirs", 6, Some(At::Another)),
            ]
        );
    }
}
