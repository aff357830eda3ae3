//! The same seed gives the same tokens: at every level, and in every version.

use lapwing_logits::{Details, Level, Sampler, SamplerOptions};

use crate::{bell, plain};

fn tokens(options: &SamplerOptions, level: Level) -> Vec<u32> {
    let mut logits = bell(49_152, 12.0);
    let mut sampler = Sampler::new(options.clone(), logits.len(), level).expect("in range");
    let step = |_| {
        let token = sampler.choose(&mut logits, Details::NONE).expect("finite row").token;
        sampler.observe(token);
        token
    };
    (0..12).map(step).collect()
}

fn check(options: SamplerOptions, expected: [u32; 12]) {
    for level in Level::available_for_floats() {
        assert_eq!(tokens(&options, level), expected, "{level:?} {options:?}");
    }
}

#[test]
fn seeded_tokens_are_pinned() {
    check(
        SamplerOptions { seed: 7, ..plain() },
        [4169, 4169, 30759, 25327, 1301, 4088, 43820, 14328, 4088, 42437, 4169, 21741],
    );
    check(
        SamplerOptions { temperature: 0.7, top_k: 40, top_p: 0.95, seed: 7, ..plain() },
        [43820, 43820, 4088, 21741, 8333, 35055, 43820, 13695, 4169, 17162, 43820, 4169],
    );
    check(
        SamplerOptions { top_p: 0.9, min_p: 0.05, frequency_penalty: 0.5, seed: 7, ..plain() },
        [35055, 4169, 37608, 47158, 6481, 33764, 43820, 15366, 19194, 7894, 35055, 35055],
    );
}

#[test]
fn another_seed_gives_other_tokens() {
    let of = |seed| tokens(&SamplerOptions { seed, ..plain() }, Level::detect());
    assert_ne!(of(1), of(2));
}
