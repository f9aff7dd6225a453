"""A boto3 session for the embedded AWS, for tests and for the server's own calls to itself.

What stands for a user of AWS (notebook, scripts, Lambda) uses boto3 as it is, and AWS_ENDPOINT_URL.
"""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config

from local_aws.identity import ACCESS_KEY, DEFAULT_REGION, SECRET_KEY


class LocalSession(boto3.Session):
    """A session whose clients talk to one endpoint, whatever the environment says.

    `access_key` may be an account's twelve digits: MiniStack then acts as that account.
    """

    def __init__(self, endpoint_url: str, access_key: str = ACCESS_KEY, region: str = DEFAULT_REGION) -> None:
        super().__init__(aws_access_key_id=access_key, aws_secret_access_key=SECRET_KEY, region_name=region)
        self._endpoint_url = endpoint_url

    def client(self, *args: Any, **kwargs: Any) -> Any:
        return super().client(*args, **self._local(kwargs))

    def resource(self, *args: Any, **kwargs: Any) -> Any:
        return super().resource(*args, **self._local(kwargs))

    def _local(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """`kwargs` with our endpoint, and without a proxy: none can reach our loopback address."""
        without_proxy = Config(proxies={})
        given = kwargs.get("config")
        config = given.merge(without_proxy) if given else without_proxy
        return {**kwargs, "endpoint_url": kwargs.get("endpoint_url") or self._endpoint_url, "config": config}
