//! Limits of accounts: those that hold, those that an account has set itself, and one table of what each may be.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rates::RATE_MAX;
use crate::{
    control::record::AccountRow,
    model::{Limits, Measure},
};

/// The same names stand in what holds and in what is set.
macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $kind:ident,)*) => {
        /// Ceilings and rates of one account on one gateway; 0 means none where it may be set. A burst is what comes at once
        /// after a rest; of 0, it is what comes in a second.
        #[derive(Clone, Debug, Serialize, ToSchema)]
        pub(in crate::control) struct AccountLimits {
            $($(#[$doc])* $name: $kind,)*
        }

        /// Limits that are set; others are the parent's, or the default.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(default, deny_unknown_fields)]
        pub(in crate::control) struct LimitsSet {
            $(#[serde(skip_serializing_if = "Option::is_none")] $name: Option<$kind>,)*
        }
    };
}

limits! {
    /// Log bulk: bytes of a body.
    bulk_body_bytes_max: u64,
    /// Log bulk: bytes of a line.
    bulk_line_bytes_max: u64,
    /// OTLP: bytes of a body after inflation.
    otlp_body_bytes_max: u64,
    /// Remote write: bytes of a body after inflation.
    remote_write_body_bytes_max: u64,
    /// Body bytes in memory at once.
    in_flight_bytes_max: u64,
    /// Requests at once.
    concurrency_max: u64,
    /// Remote write over a ceiling: 503 instead of 429.
    remote_write_throttle_as_unavailable: bool,
    /// Requests a second.
    requests_per_second: u64,
    requests_burst: u64,
    /// Bytes of bodies, after inflation, a second.
    bytes_per_second: u64,
    bytes_burst: u64,
    /// Lines, log records, spans, data points, samples, histograms and exemplars a second.
    items_per_second: u64,
    items_burst: u64,
    /// Its requests are held to its main account's rates as well, together with those of all accounts that draw on them. Set on a
    /// main account, it is what its sub-accounts inherit, and means nothing for the main account itself.
    draw_on_main: bool,
}

/// A limit that is a number, its bounds, and where it stands.
struct Number {
    name: &'static str,
    least: u64,
    most: u64,
    set: fn(&mut LimitsSet) -> &mut Option<u64>,
    holds: fn(&mut Limits) -> &mut u64,
}

/// A limit that is a yes or a no.
struct Flag {
    name: &'static str,
    set: fn(&mut LimitsSet) -> &mut Option<bool>,
}

macro_rules! number {
    ($name:ident, $least:expr, $most:expr, $($place:tt)+) => {
        Number {
            name: stringify!($name),
            least: $least,
            most: $most,
            set: |set| &mut set.$name,
            holds: |limits| &mut limits.$($place)+,
        }
    };
}

macro_rules! rate {
    ($name:ident, $measure:ident, $part:ident) => {
        number!($name, 0, RATE_MAX, rates.0[Measure::$measure.index()].$part)
    };
}

/// The feed could not tell a size of 0 from the gateway's default.
const NUMBERS: [Number; 12] = [
    number!(bulk_body_bytes_max, 1, u64::MAX, bulk_body_bytes_max),
    number!(bulk_line_bytes_max, 1, u64::MAX, bulk_line_bytes_max),
    number!(otlp_body_bytes_max, 1, u64::MAX, otlp_body_bytes_max),
    number!(
        remote_write_body_bytes_max,
        1,
        u64::MAX,
        remote_write_body_bytes_max
    ),
    number!(in_flight_bytes_max, 0, u64::MAX, in_flight_bytes_max),
    number!(concurrency_max, 0, u64::MAX, concurrency_max),
    rate!(requests_per_second, Requests, per_second),
    rate!(requests_burst, Requests, burst),
    rate!(bytes_per_second, Bytes, per_second),
    rate!(bytes_burst, Bytes, burst),
    rate!(items_per_second, Items, per_second),
    rate!(items_burst, Items, burst),
];

const FLAGS: [Flag; 2] = [
    Flag {
        name: "remote_write_throttle_as_unavailable",
        set: |set| &mut set.remote_write_throttle_as_unavailable,
    },
    Flag {
        name: "draw_on_main",
        set: |set| &mut set.draw_on_main,
    },
];

/// What a number may be, by the name of its limit.
pub(in crate::control) fn limit_bounds(name: &str) -> Option<(u64, u64)> {
    let number = NUMBERS.iter().find(|number| number.name == name)?;
    Some((number.least, number.most))
}

/// Every limit there is.
pub(in crate::control) fn limit_names() -> impl Iterator<Item = &'static str> {
    let numbers = NUMBERS.iter().map(|number| number.name);
    numbers.chain(FLAGS.iter().map(|flag| flag.name))
}

// === impl AccountLimits ===

impl From<&AccountRow> for AccountLimits {
    fn from(row: &AccountRow) -> Self {
        let limits = &row.account.limits;
        let [requests, bytes, items] = Measure::ALL.map(|measure| limits.rates.of(measure));
        Self {
            bulk_body_bytes_max: limits.bulk_body_bytes_max,
            bulk_line_bytes_max: limits.bulk_line_bytes_max,
            otlp_body_bytes_max: limits.otlp_body_bytes_max,
            remote_write_body_bytes_max: limits.remote_write_body_bytes_max,
            in_flight_bytes_max: limits.in_flight_bytes_max,
            concurrency_max: limits.concurrency_max,
            remote_write_throttle_as_unavailable: limits.remote_write_throttle_as_unavailable,
            requests_per_second: requests.per_second,
            requests_burst: requests.burst,
            bytes_per_second: bytes.per_second,
            bytes_burst: bytes.burst,
            items_per_second: items.per_second,
            items_burst: items.burst,
            draw_on_main: match row.parent {
                Some(_) => row.account.draws_on.is_some(),
                None => row.set.limits.draws_on_main().unwrap_or(false),
            },
        }
    }
}

// === impl LimitsSet ===

impl LimitsSet {
    /// Of a sub-account that its main account makes: what was sold to one is not multiplied.
    pub(in super::super) fn draw_on_main(&mut self) {
        self.draw_on_main = Some(true);
    }

    /// What holds when the rest is `base`.
    pub(in crate::control) fn over(&self, base: &Limits) -> Limits {
        let (mut own, mut limits) = (self.clone(), base.clone());
        for number in &NUMBERS {
            let place = (number.holds)(&mut limits);
            *place = (number.set)(&mut own).unwrap_or(*place);
        }
        let place = &mut limits.remote_write_throttle_as_unavailable;
        *place = own.remote_write_throttle_as_unavailable.unwrap_or(*place);
        limits
    }

    /// Whether the main account's rates are drawn on, if that is set.
    pub(in crate::control) fn draws_on_main(&self) -> Option<bool> {
        self.draw_on_main
    }

    /// Also sets what `more` sets; why not, if a number is out of its bounds.
    pub(in crate::control) fn set(&mut self, mut more: Self) -> Result<(), String> {
        for number in &NUMBERS {
            let Some(value) = *(number.set)(&mut more) else {
                continue;
            };
            in_bounds(number.name, value, (number.least, number.most))?;
            *(number.set)(self) = Some(value);
        }
        for flag in &FLAGS {
            let place = (flag.set)(self);
            *place = (flag.set)(&mut more).or(*place);
        }
        Ok(())
    }

    /// Takes a limit back, by its name; false when there is none of that name.
    pub(in crate::control) fn unset(&mut self, name: &str) -> bool {
        if let Some(number) = NUMBERS.iter().find(|number| number.name == name) {
            *(number.set)(self) = None;
        } else if let Some(flag) = FLAGS.iter().find(|flag| flag.name == name) {
            *(flag.set)(self) = None;
        } else {
            return false;
        }
        true
    }

    /// Names of those that are not set.
    pub(super) fn unset_names(&self) -> Vec<&'static str> {
        let mut own = self.clone();
        let mut names = Vec::new();
        for number in &NUMBERS {
            names.extend((number.set)(&mut own).is_none().then_some(number.name));
        }
        for flag in &FLAGS {
            names.extend((flag.set)(&mut own).is_none().then_some(flag.name));
        }
        names
    }
}

/// What is wrong with a number, in words.
pub(in crate::control) fn in_bounds(
    name: &str,
    value: u64,
    (least, most): (u64, u64),
) -> Result<(), String> {
    if value < least {
        return Err(format!("{name} must be at least {least}"));
    }
    if value > most {
        return Err(format!("{name} may be {most} at most"));
    }
    Ok(())
}
