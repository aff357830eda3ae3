//! What is wanted in which situation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the daemon can find itself in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Situation {
    /// Plugged in, or a machine that tells of no battery.
    Mains,
    /// On battery.
    Battery,
    /// On battery, of which less than a fifth is left. What is said of a battery holds here too.
    LowBattery,
    /// The processor is at 90 °C or more, and has not cooled below 80 since. It holds beside the others.
    Hot,
}

const SITUATIONS: [(&str, Situation); 4] = [
    ("mains", Situation::Mains),
    ("battery", Situation::Battery),
    ("low-battery", Situation::LowBattery),
    ("hot", Situation::Hot),
];

/// How the daemon works.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Manner {
    /// The share of the time in which models compute, above 0 and at most 1.
    pub duty: f64,
    /// Requests in the background wait until this changes.
    pub background_waits: bool,
    /// Threads of models that are loaded meanwhile.
    pub n_threads: Option<usize>,
    /// Models that are loaded meanwhile run on the processor's efficiency cores.
    pub efficiency_cores: bool,
    /// Models that are loaded meanwhile run on the device with the fewest joules a token.
    pub efficient_device: bool,
}

impl Manner {
    /// As if nobody had said anything.
    pub const USUAL: Manner = Manner {
        duty: 1.0,
        background_waits: false,
        n_threads: None,
        efficiency_cores: false,
        efficient_device: false,
    };

    /// What saves more of both.
    fn and(self, other: Manner) -> Manner {
        Manner {
            duty: self.duty.min(other.duty),
            background_waits: self.background_waits || other.background_waits,
            n_threads: self.n_threads.into_iter().chain(other.n_threads).min(),
            efficiency_cores: self.efficiency_cores || other.efficiency_cores,
            efficient_device: self.efficient_device || other.efficient_device,
        }
    }
}

/// One wish: `60%`, or `battery=60%,background=wait,threads=4,cores=efficiency,device=efficient`.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerRule {
    /// `None` for every situation.
    situation: Option<Situation>,
    wishes: Vec<Wish>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Wish {
    Duty(f64),
    BackgroundWaits(bool),
    Threads(usize),
    EfficiencyCores(bool),
    EfficientDevice(bool),
}

/// A rule is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found \"{found}\"")]
pub struct ParseRuleError {
    expected: &'static str,
    found: String,
}

const WISHES: &str = "a share such as 60%, background=wait or go, threads=N, cores=efficiency or all, \
    or device=efficient or usual";

impl FromStr for PowerRule {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<PowerRule, ParseRuleError> {
        let named = SITUATIONS.into_iter().find_map(|(name, situation)| {
            Some((situation, text.strip_prefix(name)?.strip_prefix('=')?))
        });
        let (situation, wishes) = match named {
            Some((situation, wishes)) => (Some(situation), wishes),
            None => (None, text),
        };
        let wishes: Result<Vec<Wish>, _> =
            wishes.split(',').map(|wish| wish.trim().parse()).collect();
        Ok(PowerRule { situation, wishes: wishes? })
    }
}

impl FromStr for Wish {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Wish, ParseRuleError> {
        let wrong = |expected| ParseRuleError { expected, found: text.to_owned() };
        if let Some(percent) = text.strip_suffix('%') {
            let share = percent.trim().parse::<f64>().ok().map(|percent| percent / 100.0);
            let share = share.filter(|share| (0.01..=1.0).contains(share));
            return share.map(Wish::Duty).ok_or_else(|| wrong("a share from 1% to 100%"));
        }
        match text.split_once('=') {
            Some(("background", "wait")) => Ok(Wish::BackgroundWaits(true)),
            Some(("background", "go")) => Ok(Wish::BackgroundWaits(false)),
            Some(("cores", "efficiency")) => Ok(Wish::EfficiencyCores(true)),
            Some(("cores", "all")) => Ok(Wish::EfficiencyCores(false)),
            Some(("device", "efficient")) => Ok(Wish::EfficientDevice(true)),
            Some(("device", "usual")) => Ok(Wish::EfficientDevice(false)),
            Some(("threads", n)) => {
                let n = n.parse().ok().filter(|n| *n != 0);
                n.map(Wish::Threads).ok_or_else(|| wrong("threads=N with a number above 0"))
            }
            _ => Err(wrong(WISHES)),
        }
    }
}

impl fmt::Display for Situation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = SITUATIONS.into_iter().find(|(_, situation)| situation == self);
        formatter.write_str(named.map_or("", |(name, _)| name))
    }
}

/// What is wanted in every situation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Plugged in.
    pub mains: Manner,
    /// On battery.
    pub battery: Manner,
    /// On a battery that is nearly empty.
    pub low_battery: Manner,
    /// Beside one of those, while the processor is hot.
    pub hot: Manner,
}

impl Policy {
    /// What the rules come to: later ones win, and those for one situation win over those for all.
    pub fn of(rules: &[PowerRule]) -> Policy {
        let manner = |situations: &[Option<Situation>]| {
            let mut manner = Manner::USUAL;
            for situation in situations {
                let rules = rules.iter().filter(|rule| rule.situation == *situation);
                for wish in rules.flat_map(|rule| &rule.wishes) {
                    match *wish {
                        Wish::Duty(duty) => manner.duty = duty,
                        Wish::BackgroundWaits(waits) => manner.background_waits = waits,
                        Wish::Threads(n) => manner.n_threads = Some(n),
                        Wish::EfficiencyCores(only) => manner.efficiency_cores = only,
                        Wish::EfficientDevice(only) => manner.efficient_device = only,
                    }
                }
            }
            manner
        };
        use Situation::{Battery, Hot, LowBattery, Mains};
        Policy {
            mains: manner(&[None, Some(Mains)]),
            battery: manner(&[None, Some(Battery)]),
            low_battery: manner(&[None, Some(Battery), Some(LowBattery)]),
            hot: manner(&[Some(Hot)]),
        }
    }

    /// Whether it wants the same whatever comes.
    pub(crate) fn is_constant(&self) -> bool {
        let Policy { mains, battery, low_battery, hot } = self;
        [battery, low_battery].iter().all(|manner| *manner == mains) && *hot == Manner::USUAL
    }

    /// What holds on this supply.
    pub(crate) fn manner(&self, supply: Situation, is_hot: bool) -> Manner {
        let manner = match supply {
            Situation::Mains | Situation::Hot => self.mains,
            Situation::Battery => self.battery,
            Situation::LowBattery => self.low_battery,
        };
        if is_hot { manner.and(self.hot) } else { manner }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[&str]) -> Policy {
        let rules: Result<Vec<PowerRule>, _> = rules.iter().map(|rule| rule.parse()).collect();
        Policy::of(&rules.unwrap())
    }

    #[test]
    fn rules_add_up_and_the_narrower_one_wins() {
        let all = policy(&["battery=50%,background=wait,threads=4", "80%", "low-battery=20%"]);
        assert_eq!(all.mains, Manner { duty: 0.8, ..Manner::USUAL });
        let battery =
            Manner { duty: 0.5, background_waits: true, n_threads: Some(4), ..Manner::USUAL };
        assert_eq!(all.battery, battery);
        assert_eq!(all.low_battery, Manner { duty: 0.2, ..battery });
        assert_eq!(policy(&[]).mains, Manner::USUAL);
        assert!(policy(&["60%"]).is_constant() && !all.is_constant());
    }

    #[test]
    fn heat_never_makes_it_work_more() {
        let hot = policy(&["battery=30%,threads=4", "hot=50%,threads=2,cores=efficiency"]);
        assert_eq!(hot.manner(Situation::Mains, true).duty, 0.5);
        let both = hot.manner(Situation::Battery, true);
        assert_eq!((both.duty, both.n_threads, both.efficiency_cores), (0.3, Some(2), true));
        assert_eq!(hot.manner(Situation::Battery, false), hot.battery);
    }

    #[test]
    fn what_is_no_rule_is_told() {
        let check = |rule: &str, expected: &str| {
            let error = rule.parse::<PowerRule>().unwrap_err().to_string();
            assert!(error.contains(expected), "{rule}: {error}");
        };
        check("0%", "a share from 1% to 100%");
        check("101%", "a share from 1% to 100%");
        check("nan%", "a share from 1% to 100%");
        check("battery=threads=0", "a number above 0");
        check("battery=slow", "found \"slow\"");
        check("", "a share such as 60%");
        check("plugged=60%", "found \"plugged=60%\"");
    }
}
