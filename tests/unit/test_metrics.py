"""docs/operations.md lists every metric of the product, and none that it has not."""

from __future__ import annotations

import re

from prometheus_client.metrics import MetricWrapperBase

from relaykit.api import metrics as of_api
from relaykit.shared import metrics as of_both
from relaykit.worker import metrics as of_worker
from tests.support.repository.documents import ROOT, rows

NAME = re.compile(r"`(relaykit_[a-z_]+)(?:\{[a-z, ]+\})?`")


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    listed = {
        name for row in rows((ROOT / "docs" / "operations.md").read_text()) for name in NAME.findall(row[0])
    }
    names = {
        described.name
        for module in (of_api, of_both, of_worker)
        for metric in vars(module).values()
        if isinstance(metric, MetricWrapperBase)
        for described in metric.describe()
    }
    assert {name.removesuffix("_total") for name in listed} == names
