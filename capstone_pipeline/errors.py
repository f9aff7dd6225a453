"""The errors that a user of the pipeline can meet, each with what happened, to what, and what to do next.

Not for programming errors: those stay Python's own. A notebook shows these as a few lines, no traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    UnauthorizedSSOTokenError,
)

_REFUSED_CREDENTIALS = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_DENIED = {"403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


NEXT_STEP = "\n\nWhat to do: "
"""Stands between the two parts of an error's text."""


class PipelineError(Exception):
    """Base of the pipeline's own errors.

    Parameters
    ----------
    what
        What happened, with the name of the resource it happened to.
    next_step
        What the reader can do about it; commands stand on lines of their own.
    """

    def __init__(self, what: str, next_step: str) -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}{NEXT_STEP}{self.next_step}"

    def _render_traceback_(self) -> list[str]:
        """Tell IPython to show the message alone: the stack of calls would not help the reader."""
        return [f"{type(self).__name__}: {self}"]


class NoCredentials(PipelineError):
    """No AWS credentials were found, or AWS refused the ones it got."""


class EndpointUnreachable(PipelineError):
    """Nothing answers at the endpoint that the AWS calls go to."""


class AccessDenied(PipelineError):
    """The credentials are valid but may not do this."""


class AwsCallFailed(PipelineError):
    """AWS answered with an error that has no class of its own here."""


class StackNotFound(PipelineError):
    """There is no CloudFormation stack of this name in this account and region."""


class StackNotReady(PipelineError):
    """The stack exists, but is still changing or has failed."""


class StackOutdated(PipelineError):
    """The stack lacks outputs that the pipeline needs: it was created from another template."""


class SourceBucketNotFound(PipelineError):
    """The source bucket that the stack names does not exist."""


class NoSourceData(PipelineError):
    """The source bucket holds no raw event file."""


class NoGoldData(PipelineError):
    """The gold tables hold no event, although the source bucket holds files."""


class InvalidSetting(PipelineError):
    """A setting of the job has a value that it cannot have."""


class JobNotFound(PipelineError):
    """The Glue job does not exist yet."""


class NotRunYet(PipelineError):
    """No run of the Glue job has succeeded yet, so the tables hold nothing to look at."""


class JobBusy(PipelineError):
    """The job has an active run, which is not ours, and Glue allows one."""


class PortTaken(PipelineError):
    """The port that the page was to have cannot be had."""


class JobRunFailed(PipelineError):
    """A run of the Glue job ended in another state than SUCCEEDED."""


class JobRunTimedOut(PipelineError):
    """A run of the Glue job is still going on after the time that the caller was ready to wait."""


class InvalidQueryFile(PipelineError):
    """The SQL file is not a list of statements that each stand under `-- query N, title`."""


class QueryFailed(PipelineError):
    """Athena could not run a query."""


class ScriptDiffers(PipelineError):
    """The ETL script in the notebook is not the one in its file."""


@contextmanager
def own_errors(doing: str) -> Iterator[None]:
    """Turn what botocore raises inside the block into the errors of this module.

    Parameters
    ----------
    doing
        What the block does, to follow "while": "reading stack capstone-demo".
    """
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, ProfileNotFound) as error:
        raise NoCredentials(
            f"No usable AWS credentials were found while {doing}: {error}", _CREDENTIALS_HELP
        ) from error
    except (SSOError, UnauthorizedSSOTokenError) as error:
        raise NoCredentials(
            f"The AWS sign-in session has ended ({error}), noticed while {doing}.",
            "sign in again with:\n  aws sso login",
        ) from error
    except (EndpointConnectionError, HTTPClientError) as error:
        raise EndpointUnreachable(
            f"No answer from AWS while {doing}: {error}",
            "check the network and the environment variable AWS_ENDPOINT_URL. The embedded AWS starts with:\n"
            "  make up",
        ) from error
    except ClientError as error:
        raise _translated(error, doing) from error
    except BotoCoreError as error:
        raise AwsCallFailed(f"An AWS call failed while {doing}: {error}", _CHECK_AND_REPEAT) from error


def error_code(error: ClientError) -> str:
    """The code of a botocore `ClientError`, such as "AccessDenied"."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_message(error: ClientError) -> str:
    """The message of a botocore `ClientError`, without the words that botocore puts around it."""
    return str(error.response.get("Error", {}).get("Message", "")) or str(error)


def _translated(error: ClientError, doing: str) -> PipelineError:
    code, message = error_code(error), error_message(error)
    call = f"{error.operation_name} said {code}: {message}"
    if code in _REFUSED_CREDENTIALS:
        return NoCredentials(f"AWS refused the credentials while {doing}: {call}", _CREDENTIALS_HELP)
    if code in _DENIED:
        return AccessDenied(
            f"The AWS credentials may not do this, noticed while {doing}: {call}",
            f"ask for permission to call {error.operation_name}, or use credentials that have it.",
        )
    return AwsCallFailed(f"An AWS call failed while {doing}: {call}", _CHECK_AND_REPEAT)


_CREDENTIALS_HELP = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN if temporary), or run:\n"
    "  aws configure\n"
    "For the embedded AWS, `make up` prints the variables to export."
)
_CHECK_AND_REPEAT = "check the message above, then run the cell again; every cell may be repeated."
