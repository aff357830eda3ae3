"""`langchain-openai` and `langchain-ollama`, by LangChain's own suite of what a chat model must do.

What a model of 135 million weights cannot do fails here by name and with the reason, not because of
the daemon: the same requests with tools that must be called, or forms, are met.
"""

import pytest
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from conftest import MODEL, TOOLS_MODEL

BY_ITSELF = "the small model does not call a function by itself, and nothing demands it here"
NO_SCHEMA = "the small model does not find the keys that are asked for in words alone"

# By class and name; they may also come out well. See conftest.py.
CANNOT = {
    ("TestOpenAi", "test_agent_loop"): BY_ITSELF,
    ("TestOpenAi", "test_json_mode"): NO_SCHEMA,
    ("TestOpenAiResponses", "test_agent_loop"): BY_ITSELF,
    ("TestOpenAiResponses", "test_json_mode"): NO_SCHEMA,
    ("TestOllama", "test_agent_loop"): BY_ITSELF,
    ("TestOllama", "test_bind_runnables_as_tools"): BY_ITSELF,
    ("TestOllama", "test_json_mode"): NO_SCHEMA,
    ("TestOllama", "test_tool_calling"): BY_ITSELF,
    ("TestOllama", "test_tool_calling_async"): BY_ITSELF,
    ("TestOllama", "test_tool_calling_with_no_arguments"): BY_ITSELF,
    ("TestOllama", "test_unicode_tool_call_integration"): BY_ITSELF,
}


class Suite(ChatModelIntegrationTests):
    """What both have in common."""

    @pytest.fixture(autouse=True)
    def at(self, url, request):
        """Where the daemon listens. In a form the small model writes one sentence until its limit, but
        for a penalty, which elsewhere would keep it from the words of the question."""
        type(self).url = url
        type(self).penalty = {"repeat_penalty": 1.3} if "structured" in request.node.name else {}

    @property
    def supports_image_inputs(self):
        return False

    @property
    def supports_json_mode(self):
        return True


class TestOpenAi(Suite):
    """By `/v1/chat/completions`."""

    @property
    def chat_model_class(self):
        return ChatOpenAI

    @property
    def chat_model_params(self):
        return {
            "model": TOOLS_MODEL, "base_url": f"{self.url}/v1", "api_key": "none", "max_retries": 0,
            "max_tokens": 250, "temperature": 0, "extra_body": self.penalty,
            "use_responses_api": False, "stream_usage": True,
        }


class TestOpenAiResponses(TestOpenAi):
    """By `/v1/responses`."""

    @property
    def chat_model_params(self):
        return {**super().chat_model_params, "use_responses_api": True}


class TestOllama(Suite):
    """By `/api/chat`, which has no choice of tools."""

    @property
    def chat_model_class(self):
        return ChatOllama

    @property
    def chat_model_params(self):
        return {
            "model": TOOLS_MODEL, "base_url": self.url, "num_predict": 250, "temperature": 0,
            **self.penalty,
        }

    @property
    def has_tool_choice(self):
        return False
