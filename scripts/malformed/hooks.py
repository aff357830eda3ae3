"""What schemathesis sends and checks beside its own: short answers of a model that is there, a number
of all requests, and refusals that say what they should."""

import os

import schemathesis

MODEL = os.environ["MALFORMED_MODEL"]
COUNT = os.environ["MALFORMED_COUNT"]
# Tokens of an answer: it is not the answers that are tried here.
N_TOKENS_MAX = 4
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict", "num_predict", "n_tokens_max")
N_ANSWERS_MAX = 2


def shorten(fields, names):
    """Let whole numbers be small that say how long an answer is; what is wrong in other ways stays."""
    for name in names:
        value = fields.get(name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is None or (is_number and not 0 <= value <= N_TOKENS_MAX):
            fields[name] = N_TOKENS_MAX


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if not isinstance(body, dict):
        return
    if "model" not in body or isinstance(body["model"], str) and len(body["model"]) % 4:
        body["model"] = MODEL
    shorten(body, [name for name in LIMITS if name in body or name in ("max_tokens", "n_predict")])
    for name in ("n", "n_cmpl"):
        if isinstance(body.get(name), int) and not isinstance(body[name], bool) and body[name] > N_ANSWERS_MAX:
            body[name] = N_ANSWERS_MAX
    if case.path.startswith("/api/") and isinstance(body.get("options", {}), dict):
        body["options"] = dict(body.get("options") or {})
        shorten(body["options"], ["num_predict"])
    if case.path.endswith("/responses"):
        shorten(body, ["max_output_tokens"])
    if isinstance(body.get("generate"), dict):
        shorten(body["generate"], ["n_tokens_max"])


@schemathesis.hook
def after_call(context, case, response):
    with open(COUNT, "a", encoding="ascii") as file:
        file.write(f"{response.status_code}\n")


@schemathesis.check
def failures_are_told(ctx, response, case):
    """Nothing fails but for want of room, with the time to come again, or because it is not built."""
    status = response.status_code
    if status < 500:
        return
    if status in (503, 529):
        assert response.headers.get("retry-after"), "refused without a time to come again"
        return
    assert status == 501, f"failed with {status}: {response.text[:300]}"
    if case.method.upper() != "HEAD":
        assert "does not do that" in response.text, "not built, without a reason"
