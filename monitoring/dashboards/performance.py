"""Performance: how fast, where the time goes, what the machines do."""

from grafana_foundation_sdk.models import dashboard as models

from monitoring.dashboards.panels import BAD, GOOD, WARN, board, curves, number, ranking


def performance() -> models.Dashboard:
    return board(
        "stenopool-performance",
        "Stenopool: performance",
        "How fast it is, where the time goes, and what the machines do meanwhile.",
        {
            "Speed": [
                number(
                    "Overall speed",
                    "stenopool:audio_seconds:rate1h",
                    "Seconds of audio transcribed per second of the clock, over the last hour.",
                    unit="suffix: ×",
                    decimals=1,
                ),
                number(
                    "Speed per GPU",
                    "stenopool:audio_seconds_per_gpu_second:ratio1h",
                    "Seconds of audio per second that a transcribing machine (with or without a GPU) was held: what "
                    "one more machine brings.",
                    unit="suffix: ×",
                    decimals=1,
                ),
                number(
                    "Last batch",
                    'stenopool_realtime_factor{stage="batch"}',
                    "Seconds of audio per second of wall time in the last batch that transcribed any, from its report.",
                    unit="suffix: ×",
                    decimals=1,
                ),
                number(
                    "GPUs busy",
                    'stenopool:gpu_seconds:share1h{kind="busy"}',
                    "Share of the transcribing machines' time in which the device worked.",
                    unit="percentunit",
                    steps=[(None, BAD), (0.4, WARN), (0.7, GOOD)],
                ),
                number(
                    "Loading models",
                    'stenopool:gpu_seconds:share1h{kind="load"}',
                    "Share of their time that went into loading models. Longer shards make it smaller.",
                    unit="percentunit",
                    steps=[(None, GOOD), (0.1, WARN), (0.25, BAD)],
                ),
                number(
                    "A model loads in",
                    "histogram_quantile(0.95, sum by (le) (rate(stenopool_model_load_seconds_bucket[6h])))",
                    "95 % of the runs of the last six hours loaded their models in less.",
                    unit="s",
                    steps=[(None, GOOD), (60, WARN), (180, BAD)],
                ),
            ],
            "Over time": [
                curves(
                    "Audio transcribed per second, by engine and model",
                    [
                        (
                            "sum by (engine, model) (rate(stenopool_audio_seconds_total[$__rate_interval]))",
                            "{{engine}} {{model}}",
                        )
                    ],
                    "How many times real time. What a run did is counted as its stages and shards end, so short "
                    "windows show steps.",
                    unit="suffix: ×",
                    stacked=True,
                ),
                curves(
                    "What the transcribing machines do",
                    [("sum by (kind) (rate(stenopool_gpu_seconds_total[$__rate_interval]))", "{{kind}}")],
                    "Machines that were busy, loading or idle; together, as many as were held. All of it is paid for.",
                    stacked=True,
                ),
            ],
            "Stages": [
                ranking(
                    "Speed of each stage, last batch",
                    ('sort_desc(stenopool_realtime_factor{stage!="batch"})', "{{stage}}"),
                    "Seconds of audio per second that the stage took, in the last batch that transcribed any. The "
                    "slowest is where it is worth working; all of them share the machine.",
                    unit="suffix: ×",
                    span=8,
                ),
                curves(
                    "Where the time goes",
                    [("sum by (stage) (rate(stenopool_stage_seconds_sum[$__rate_interval]))", "{{stage}}")],
                    "Seconds per second spent in each stage. Stages overlap: uploads and downloads go on beside speech "
                    "work.",
                    stacked=True,
                    span=8,
                ),
                curves(
                    "A batch of recordings in a stage, 95 %",
                    [("stenopool:stage_seconds:p95_1h", "{{stage}}")],
                    "95 % of the batches of the last hour took less. A batch is up to STENOPOOL_BATCH__BATCH_SECONDS "
                    "of audio, 20 minutes unless set otherwise.",
                    unit="s",
                    span=8,
                ),
            ],
            "What was saved, and what is suspect": [
                curves(
                    "Work that was not done twice, recordings a minute",
                    [
                        (
                            "60 * sum by (stage) (rate(stenopool_checkpoint_hits_total[$__rate_interval])) > 0",
                            "{{stage}}",
                        )
                    ],
                    "Recordings whose stage an earlier, interrupted run had finished already.",
                    none="none",
                    bars=True,
                    stacked=True,
                ),
                curves(
                    "Flags of transcripts, a minute",
                    [
                        (
                            "60 * sum by (flag) (rate(stenopool_transcript_flags_total[$__rate_interval])) > 0",
                            "{{flag}}",
                        )
                    ],
                    "Suspect text is flagged and kept. A sudden rise: another kind of audio, or a model that does not "
                    "fit it.",
                    none="none",
                    bars=True,
                    stacked=True,
                ),
            ],
            "GPUs (DCGM exporter) and machines (node exporter)": [
                curves(
                    "GPU use",
                    [("DCGM_FI_DEV_GPU_UTIL / 100", "{{Hostname}} {{gpu}}")],
                    "Share of the time in which a kernel ran, as NVIDIA counts it: high says busy, not efficient.",
                    unit="percentunit",
                    top=1,
                    span=8,
                ),
                curves(
                    "GPU memory",
                    [
                        (
                            "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)",
                            "{{Hostname}} {{gpu}}",
                        )
                    ],
                    "Share of the GPU's memory in use. Near one, a batch may not fit; it is halved then, and goes on.",
                    unit="percentunit",
                    steps=[(None, GOOD), (0.95, WARN)],
                    top=1,
                    span=8,
                ),
                curves(
                    "CPU",
                    [
                        (
                            '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))',
                            "{{instance}}",
                        )
                    ],
                    "Share of the machines' cores in use. A GPU that idles beside a full CPU waits for its audio.",
                    unit="percentunit",
                    top=1,
                    span=8,
                ),
            ],
        },
        since="now-6h",
    )
