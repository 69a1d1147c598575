"""The dashboard "cost": cost, its causes, and waste."""

from grafana_foundation_sdk.models import dashboard as models

from monitoring.dashboards.panels import BAD, GOOD, NEUTRAL, WARN, board, curves, number


def cost() -> models.Dashboard:
    return board(
        "stenopool-cost",
        "Stenopool: cost",
        "Cost, its causes, and waste. Prices are STENOPOOL_PRICES__GPU_HOUR and __CPU_HOUR; the budget "
        "is also in the settings. Machines are counted while runs use them; empty nodes cost extra.",
        {
            "Now": [
                number(
                    "Last 24 hours",
                    "stenopool:cost_dollars:increase1d",
                    "Cost of runs.",
                    unit="currencyUSD",
                    decimals=2,
                ),
                number(
                    "Share of the daily budget",
                    "stenopool:budget_used:ratio1d",
                    "Cost of the last 24 hours as a share of the daily budget. Alert: above 100 % and above 150 %.",
                    unit="percentunit",
                    steps=[(None, GOOD), (0.8, WARN), (1, BAD)],
                ),
                number(
                    "Cost per hour",
                    "stenopool:cost_dollars:per_hour",
                    "At the rate of the last hour.",
                    unit="currencyUSD",
                    decimals=2,
                ),
                number(
                    "Cost of an hour of audio",
                    "stenopool:cost_dollars_per_audio_hour:ratio1d",
                    "Cost of an hour of transcribed audio, over the last 24 hours.",
                    unit="currencyUSD",
                    decimals=4,
                ),
                number(
                    "Wasted on idle GPUs",
                    "stenopool:idle_dollars:increase1d",
                    "Cost of transcribing machines in the last 24 hours while their device was idle.",
                    unit="currencyUSD",
                    decimals=2,
                    steps=[(None, GOOD), (1, WARN), (20, BAD)],
                ),
                number(
                    "Audio, last 24 hours",
                    "sum(increase(stenopool_audio_seconds_total[1d]))",
                    "Audio transcribed.",
                    unit="s",
                ),
            ],
            "Over time": [
                curves(
                    "Cost per hour",
                    [
                        ("3600 * sum(rate(stenopool_cost_dollars_total[$__rate_interval]))", "now"),
                        ("stenopool:cost_dollars:per_hour", "last hour"),
                    ],
                    "Cost per hour at the current rate, and at the rate of the last hour.",
                    unit="currencyUSD",
                ),
                curves(
                    "Last 24 hours, and the budget",
                    [
                        ("stenopool:cost_dollars:increase1d", "cost"),
                        ("max(stenopool_daily_budget_dollars)", "budget"),
                    ],
                    "Alert: above the budget. Without a budget, its line is missing.",
                    unit="currencyUSD",
                ),
                curves(
                    "Cost of an hour of audio",
                    [("stenopool:cost_dollars_per_audio_hour:ratio1d", "last 24 hours")],
                    "Causes of a rise at constant prices: smaller shards, more idle time, more repeated work, "
                    "another model.",
                    unit="currencyUSD",
                ),
                curves(
                    "Machine hours per hour",
                    [
                        ("sum by (kind) (rate(stenopool_gpu_seconds_total[1h]))", "gpu {{kind}}"),
                        ("sum(rate(stenopool_cpu_seconds_total[1h]))", "cpu"),
                    ],
                    "Machines used by transcribe runs (by state of the device) and by prepare runs.",
                    stacked=True,
                ),
            ],
            "Waste": [
                curves(
                    "Unproductive share of the transcribing machines' time",
                    [
                        ('stenopool:gpu_seconds:share1h{kind="idle"}', "idle"),
                        ('stenopool:gpu_seconds:share1h{kind="load"}', "load"),
                    ],
                    "Alert: idle above 40 % for 15 minutes; see docs/autoscaling.md.",
                    unit="percentunit",
                    steps=[(None, NEUTRAL), (0.4, BAD)],
                    top=1,
                ),
                curves(
                    "GPUs without a pod (kube-state-metrics)",
                    [
                        (
                            'sum(kube_node_status_allocatable{resource="nvidia_com_gpu"}) - (sum('
                            'kube_pod_container_resource_requests{resource="nvidia_com_gpu"} * on (namespace, pod) '
                            'group_left () (kube_pod_status_phase{phase=~"Pending|Running"} == 1)) or on () vector(0))',
                            "without a pod",
                        )
                    ],
                    "You pay for these, but the figures above count runs only. An empty node is removed after five "
                    "minutes.",
                    steps=[(None, GOOD), (1, WARN)],
                ),
            ],
        },
        since="now-7d",
    )
