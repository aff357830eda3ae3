//! The worker: reads what is asked, makes prompts, lets answers take turns, and says what comes of it.
//!
//! Two threads: one takes requests and does all that is text (templates, tokens), the other one runs
//! the model. A conversation that takes long to render therefore holds up prompts, but no answer. What
//! an answer must look like is compiled by further threads.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::Scope;
use std::time::Instant;

use lapwing_backend::{DeviceKind, DeviceRequest};
use lapwing_host::correction;
use lapwing_host::worker::crowd::Requests;
use lapwing_host::{Caller, EmbeddingEngine, Engine, Host, OpenRequest, with_causes};
use lapwing_store::Store;

use crate::confined::{Network, confine};
use crate::embeds::Embeds;
use crate::forms::{Asked, Forms};
use crate::listing::{hash, libraries, list};
use crate::message::Prompt;
use crate::message::{Ask, Failure, FailureKind, Form, Generate, Opening, Said};
use crate::mouth::Mouth;
use crate::pace::Pace;
use crate::prompt::{self, Made};
use crate::served::Served;
use crate::textual::{of_text, refused, told};
use crate::turns::{Turns, TurnsOptions, Wanted};
use crate::words::{failure, holds_already, never_begun, nothing_open};

/// What a worker opens models with.
pub struct Base<'a> {
    /// Folders.
    pub host: &'a Host,
    /// What to do about an error, in words.
    pub advise: &'a dyn Fn(&(dyn std::error::Error + 'static)) -> Option<String>,
}

/// What the thread that runs the model hears.
enum Turn {
    Wanted(Box<Wanted>),
    Cancel(u64),
    Look(u64),
    Pace(f64),
}

/// Answer what is asked on `input` until nobody asks any more.
///
/// # Errors
///
/// When a request is not understood: another version of this program asks.
pub fn serve(
    input: impl Read + Send + 'static,
    output: impl Write + Send,
    base: &Base<'_>,
) -> Result<(), serde_json::Error> {
    let problems = confine(Network::GivenUp);
    let requests: Requests<Ask> = Requests::of(input);
    let mouth = Mouth::of(output);
    while let Some(request) = requests.next() {
        let (number, ask) = request?;
        for problem in &problems {
            mouth.say(number, false, &Said::Notice(problem.clone()));
        }
        match ask {
            Ask::Open(opening) if opening.embeds => {
                match embeds(base, &opening, &|said| mouth.say(number, false, &said)) {
                    Ok(held) => {
                        mouth.say(number, true, &Said::Opened(Box::new(held.card())));
                        return held.hold(&requests, &mouth);
                    }
                    Err(failure) => mouth.say(number, true, &Said::Failed(failure)),
                }
            }
            Ask::Open(opening) => {
                match open(base, &opening, &|said| mouth.say(number, false, &said)) {
                    Ok(served) => {
                        mouth.say(number, true, &Said::Opened(Box::new(served.card())));
                        return hold(&served, &opening, &requests, &mouth);
                    }
                    Err(failure) => mouth.say(number, true, &Said::Failed(failure)),
                }
            }
            Ask::List => {
                let said = match list(&Store::new(base.host.store.models.clone())) {
                    #[cfg(any(test, feature = "fakes"))]
                    Ok(listings) => Said::Listed([listings, crate::fake::listings()].concat()),
                    #[cfg(not(any(test, feature = "fakes")))]
                    Ok(listings) => Said::Listed(listings),
                    Err(error) => Said::Failed(failure(FailureKind::Model, &error)),
                };
                mouth.say(number, true, &said);
            }
            Ask::OfText { model, ask } => {
                let store = Store::new(base.host.store.models.clone());
                let failed = |error: &(dyn std::error::Error + 'static)| base.failed(error);
                let said = of_text(&store, &failed, &model, *ask).unwrap_or_else(Said::Failed);
                mouth.say(number, true, &said);
            }
            Ask::Devices => mouth.say(number, true, &Said::Offered(libraries(base.host))),
            Ask::Hash { model, variant } => {
                let said = match hash(base.host, &model, variant.as_deref()) {
                    Ok((sha256, n_bytes)) => Said::Hashed { sha256, n_bytes },
                    Err(error) => Said::Failed(base.failed(&*error)),
                };
                mouth.say(number, true, &said);
            }
            Ask::Cancel(_) | Ask::Pace(_) => {}
            _ => mouth.say(number, true, &Said::Failed(nothing_open())),
        }
    }
    Ok(())
}

impl Base<'_> {
    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        let (message, hint) = (with_causes(error), (self.advise)(error));
        Failure { kind: FailureKind::Model, message, hint }
    }
}

/// What the host is asked for.
fn request(opening: &Opening) -> OpenRequest {
    let Opening { model, variant, backend, options, .. } = opening.clone();
    OpenRequest { model, variant, backend, options }
}

fn embeds(base: &Base<'_>, opening: &Opening, say: &dyn Fn(Said)) -> Result<Embeds, Failure> {
    #[cfg(any(test, feature = "fakes"))]
    if let Some(fake) = crate::fake::embeds(&opening.model) {
        return Ok(fake);
    }
    let mut request = request(opening);
    // Embeddings are made on the CPU; devices and what is told them are of models that answer.
    request.options.device = DeviceRequest::One(DeviceKind::Cpu, None);
    request.options.properties.clear();
    let tell = |notice: lapwing_host::Notice| say(Said::Notice(notice.to_string()));
    let caller = Caller { tell: &tell, ..Caller::NOBODY };
    let engine = EmbeddingEngine::open(base.host, &request, caller);
    Ok(Embeds::of(engine.map_err(|error| base.failed(&error))?))
}

fn open(base: &Base<'_>, opening: &Opening, say: &dyn Fn(Said)) -> Result<Served, Failure> {
    #[cfg(any(test, feature = "fakes"))]
    if let Some(fake) = crate::fake::named(&opening.model, opening.options.device) {
        return Ok(fake);
    }
    let request = request(opening);
    let failed = |error: &(dyn std::error::Error + 'static)| base.failed(error);
    let tell = |notice: lapwing_host::Notice| say(Said::Notice(notice.to_string()));
    let caller = Caller { tell: &tell, ..Caller::NOBODY };
    let engine = Engine::open(base.host, &request, caller).map_err(|error| failed(&error))?;
    let resolved = correction::resolve(&engine, &opening.correction, base.host, caller);
    Ok(Served::of(engine, &resolved.map_err(|error| failed(&error))?))
}

/// Serve the open model until nobody asks any more.
fn hold<W: Write + Send>(
    served: &Served,
    opening: &Opening,
    requests: &Requests<Ask>,
    mouth: &Mouth<W>,
) -> Result<(), serde_json::Error> {
    let options = TurnsOptions {
        n_sequences_max: opening.n_sequences_max,
        n_kept_bytes_max: opening.n_kept_bytes_max,
    };
    let (sender, turns) = mpsc::channel();
    let reader = Reader { served, forms: Forms::default(), mouth };
    std::thread::scope(|scope| {
        // Ends when the sender is gone.
        scope.spawn(|| take_turns(served, options, turns, mouth));
        while let Some(request) = requests.next() {
            let (number, ask) = request?;
            reader.read(number, ask, &sender, scope);
        }
        drop(sender);
        Ok(())
    })
}

/// What the thread knows that takes requests.
struct Reader<'a, W> {
    served: &'a Served,
    forms: Forms,
    mouth: &'a Mouth<W>,
}

impl<W: Write + Send> Reader<'_, W> {
    /// Do what of a request is text, and pass on the rest.
    fn read<'scope>(
        &'scope self,
        number: u64,
        ask: Ask,
        turns: &Sender<Turn>,
        scope: &'scope Scope<'scope, '_>,
    ) {
        let arrived = Instant::now();
        let served = self.served;
        let outcome = match ask {
            Ask::Generate(generate) => match wanted(served, number, *generate, arrived) {
                Ok((wanted, None)) => return self.pass_on(wanted, turns),
                Ok((wanted, Some(form))) => {
                    self.forms.begin(number);
                    let turns = turns.clone();
                    scope.spawn(move || self.compile(wanted, &form, &turns));
                    return;
                }
                Err(failure) => Err(failure),
            },
            Ask::Cancel(number) => return self.cancel(number, turns),
            Ask::Look => return drop(turns.send(Turn::Look(number))),
            Ask::Pace(duty) => return drop(turns.send(Turn::Pace(duty))),
            ask @ (Ask::Encode { .. } | Ask::Render(_) | Ask::Decode(_)) => {
                told(served.text(), ask)
            }
            Ask::Embed { .. } => Err(Failure {
                kind: FailureKind::Request,
                message: "this model makes no embeddings".to_owned(),
                hint: None,
            }),
            Ask::Open(_) | Ask::List | Ask::Devices | Ask::OfText { .. } | Ask::Hash { .. } => {
                Err(holds_already())
            }
        };
        self.mouth.say(number, true, &outcome.unwrap_or_else(Said::Failed));
    }

    /// Compile the form of an answer, and let the answer have its turn.
    fn compile(&self, wanted: Wanted, form: &WantedForm, turns: &Sender<Turn>) {
        let number = wanted.number;
        let asked = Asked {
            form: &form.form,
            prompt: &wanted.ids,
            tools: wanted.tools.as_deref().unwrap_or_default(),
            is_text: wanted.is_text,
            may_think: form.may_think,
        };
        let compiled = self.forms.compile(self.served, &asked);
        // Unless it was given up meanwhile, and told so.
        self.forms.end(number, || match compiled {
            Ok(constraint) => {
                self.pass_on(Wanted { constraint: Some(constraint), ..wanted }, turns);
            }
            Err(failure) => self.mouth.say(number, true, &Said::Failed(failure)),
        });
    }

    fn pass_on(&self, wanted: Wanted, turns: &Sender<Turn>) {
        let n_tokens_max = wanted.generate.n_tokens_max.unwrap_or(usize::MAX);
        let began = Said::Began { n_prompt: wanted.ids.len(), n_tokens_max };
        self.mouth.say(wanted.number, false, &began);
        let _ = turns.send(Turn::Wanted(Box::new(wanted)));
    }

    fn cancel(&self, number: u64, turns: &Sender<Turn>) {
        let given_up = self.forms.end(number, || {
            let ended = never_begun(0, Instant::now());
            self.mouth.say(number, true, &Said::Ended(Box::new(ended)));
        });
        if !given_up {
            let _ = turns.send(Turn::Cancel(number));
        }
    }
}

/// The form of an answer that is wanted.
struct WantedForm {
    form: Form,
    /// Whether a thought may come before it.
    may_think: bool,
}

/// An answer that is wanted, with its prompt and its form.
fn wanted(
    served: &Served,
    number: u64,
    mut generate: Generate,
    arrived: Instant,
) -> Result<(Wanted, Option<WantedForm>), Failure> {
    let asked = std::mem::replace(&mut generate.prompt, Prompt::Ids(Vec::new()));
    let is_text = !matches!(asked, Prompt::Chat(_));
    let may_think = matches!(&asked, Prompt::Chat(chat) if chat.thinks != Some(false));
    let form = generate.form.take().map(|form| WantedForm { form, may_think });
    let made = prompt::make(served.text(), asked);
    let Made { ids, tools, .. } = made.map_err(|error| refused(&error))?;
    let n_positions_max = served.model.limits().n_positions_max;
    if n_positions_max < ids.len().saturating_add(generate.n_room) {
        let n_tokens = ids.len();
        // By these words, llama.cpp's server's and OpenAI's, programs know that they have to shorten it.
        let message = format!(
            "the prompt of {n_tokens} tokens exceeds the available context size: this model's \
             maximum context length is {n_positions_max} tokens"
        );
        return Err(Failure { kind: FailureKind::TooLong, message, hint: None });
    }
    let n_left = n_positions_max + 1 - ids.len();
    generate.n_tokens_max = Some(generate.n_tokens_max.unwrap_or(usize::MAX).min(n_left));
    Ok((Wanted { number, generate, ids, tools, is_text, constraint: None, arrived }, form))
}

/// Run the model: a round after the other while there is something to do.
fn take_turns<W: Write>(
    served: &Served,
    options: TurnsOptions,
    inbox: Receiver<Turn>,
    mouth: &Mouth<W>,
) {
    let mut turns = Turns::new(served, options);
    let say = &mut |number, is_last, said: Said| mouth.say(number, is_last, &said);
    // What came in while a prompt was read.
    let mut early = Vec::new();
    let mut pace = Pace::full();
    loop {
        if turns.is_idle() && early.is_empty() {
            let Ok(turn) = inbox.recv() else { return };
            early.push(turn);
        }
        let mut is_over = false;
        for turn in early.drain(..).chain(std::iter::from_fn(|| match inbox.try_recv() {
            Ok(turn) => Some(turn),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                is_over = true;
                None
            }
        })) {
            match turn {
                Turn::Wanted(wanted) => turns.want(*wanted),
                Turn::Cancel(number) => turns.cancel(number, say),
                Turn::Look(number) => say(number, true, Said::State(turns.state())),
                Turn::Pace(duty) => pace.set(duty),
            }
        }
        if is_over {
            return;
        }
        if turns.is_idle() {
            continue;
        }
        if let Some(rest) = pace.rest() {
            // Whoever gives up, or looks, is heard meanwhile.
            match inbox.recv_timeout(rest) {
                Ok(turn) => early.push(turn),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            continue;
        }
        let mut cancelled = HashSet::new();
        let mut is_wanted = |number: u64| {
            while let Ok(turn) = inbox.try_recv() {
                if let Turn::Cancel(number) = turn {
                    cancelled.insert(number);
                }
                early.push(turn);
            }
            !cancelled.contains(&number)
        };
        let started = Instant::now();
        turns.round(&mut is_wanted, say);
        pace.worked(started);
    }
}

#[cfg(test)]
mod tests;
