//! What a call of `bench` measures, in which order, and what follows from it.

/// What a device can be best at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merit {
    /// The time to an answer: the first token and those after it.
    Latency,
    /// Generated tokens a second.
    Throughput,
    /// Joules for each generated token.
    Energy,
    /// The most that the process ever held.
    Memory,
}

impl Merit {
    /// Its name in the data.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Energy => "energy",
            Self::Memory => "memory",
        }
    }

    /// The unit of its figure.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Latency => "ms to the last token",
            Self::Throughput => "tokens/s",
            Self::Energy => "J/token",
            Self::Memory => "MB at the peak",
        }
    }
}
