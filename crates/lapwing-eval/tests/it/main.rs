//! The evaluation against plain loops: over made-up models, and over real exports.

mod calibrated_exports;
mod calibrations;
mod divergences;
mod estimators;
mod exports;
mod judged;
mod models;
mod perplexities;
mod rows;
mod simulated;
mod task_scores;
mod tokenizers;
