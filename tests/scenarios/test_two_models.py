"""The finding that scenarios/two-models.yaml opens with."""

import sim


def test_what_eight_gpus_do_for_two_models() -> None:
    met = {}
    for variant in (None, "2 for chat, 6 for coding", "6 for chat, 2 for coding"):
        summary = sim.run("two-models", variant=variant).summary
        met[variant] = {name: row["slo_attainment"] for name, row in summary["by_tenant"].items()}
        assert sum(pool["gpus"] for pool in summary["by_pool"].values()) == 8
        if variant is None:
            assert summary["slo_attainment"]["all"] > 0.975
    assert met["2 for chat, 6 for coding"]["chat"] < 0.06
    assert met["2 for chat, 6 for coding"]["coding"] > 0.95
    assert met["6 for chat, 2 for coding"]["chat"] > 0.99
    assert met["6 for chat, 2 for coding"]["coding"] < 0.05
