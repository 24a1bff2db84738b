//! Plans: what an account may have. Nothing here stops its payloads.

/// Enabled shipping tokens per account and signal, on the plans that have a bound.
const COMMUNITY_TOKENS: u64 = 1;
const PAID_TOKENS: u64 = 15;
/// Shipping tokens that are not revoked, per account and signal, on the same plans: every gateway has them in its memory.
const KEPT_TOKENS: u64 = 1_000;
/// Sub-accounts of a main account, each with as many tokens again.
const COMMUNITY_SUB_ACCOUNTS: u64 = 5;
const PRO_SUB_ACCOUNTS: u64 = 100;
const ENTERPRISE_SUB_ACCOUNTS: u64 = 1_000;

/// What a main account has, and its sub-accounts with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Community,
    Pro,
    Enterprise,
    /// As Enterprise until then, in seconds since 1970; as Community from then on.
    Trial {
        until: u32,
    },
    /// Without bounds: the account of the first start.
    Unlimited,
}

// === impl Plan ===

impl Plan {
    /// Every name.
    pub(super) const NAMES: [&str; 5] = ["community", "pro", "enterprise", "trial", "unlimited"];

    /// The name in the admin API and in the store.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Community => "community",
            Self::Pro => "pro",
            Self::Enterprise => "enterprise",
            Self::Trial { .. } => "trial",
            Self::Unlimited => "unlimited",
        }
    }

    /// The plan of that name; a trial needs its end, and nothing else has one.
    pub(super) fn parse(name: &str, trial_until: Option<u32>) -> Option<Self> {
        match (name, trial_until) {
            ("community", None) => Some(Self::Community),
            ("pro", None) => Some(Self::Pro),
            ("enterprise", None) => Some(Self::Enterprise),
            ("unlimited", None) => Some(Self::Unlimited),
            ("trial", Some(until)) => Some(Self::Trial { until }),
            _ => None,
        }
    }

    /// When a trial ends.
    pub(super) const fn trial_until(self) -> Option<u32> {
        match self {
            Self::Trial { until } => Some(until),
            _ => None,
        }
    }

    /// How many shipping tokens may be enabled per account and signal at that second; `None` for any number.
    pub(super) fn tokens_max(self, seconds: u32) -> Option<u64> {
        match self.at(seconds) {
            Self::Unlimited => None,
            Self::Community => Some(COMMUNITY_TOKENS),
            Self::Pro | Self::Enterprise | Self::Trial { .. } => Some(PAID_TOKENS),
        }
    }

    /// How many shipping tokens there may be that are not revoked, per account and signal; `None` for any number.
    pub(super) const fn kept_tokens_max(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            _ => Some(KEPT_TOKENS),
        }
    }

    /// How many sub-accounts a main account may have at that second; `None` for any number.
    pub(super) fn sub_accounts_max(self, seconds: u32) -> Option<u64> {
        match self.at(seconds) {
            Self::Unlimited => None,
            Self::Community => Some(COMMUNITY_SUB_ACCOUNTS),
            Self::Pro => Some(PRO_SUB_ACCOUNTS),
            Self::Enterprise | Self::Trial { .. } => Some(ENTERPRISE_SUB_ACCOUNTS),
        }
    }

    /// Whether API tokens work at that second.
    pub(super) fn has_api_tokens(self, seconds: u32) -> bool {
        self.at(seconds) != Self::Community
    }

    fn at(self, seconds: u32) -> Self {
        match self {
            Self::Trial { until } if seconds >= until => Self::Community,
            Self::Trial { .. } => Self::Enterprise,
            plan => plan,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_enterprise_until_its_second_and_community_from_then_on() {
        let trial = Plan::Trial { until: 100 };
        assert_eq!(
            (trial.tokens_max(99), trial.tokens_max(100)),
            (Some(15), Some(1))
        );
        assert_eq!(
            (trial.sub_accounts_max(99), trial.sub_accounts_max(100)),
            (Some(1_000), Some(5))
        );
        assert!(trial.has_api_tokens(99) && !trial.has_api_tokens(100));
    }

    #[test]
    fn a_plan_is_read_as_it_is_written_and_only_a_trial_has_an_end() {
        for plan in [
            Plan::Community,
            Plan::Pro,
            Plan::Enterprise,
            Plan::Trial { until: 7 },
            Plan::Unlimited,
        ] {
            assert_eq!(Plan::parse(plan.name(), plan.trial_until()), Some(plan));
        }
        assert_eq!(Plan::parse("trial", None), None);
        assert_eq!(Plan::parse("pro", Some(7)), None);
    }
}
