"""Several daemons, one truth about addresses, while daemons die and the database comes and goes."""

from collections import Counter

import pytest

from pybootd.dhcp.packet import Message
from tests.postgres import Cluster, missing

from .shared_crowd import turn
from .shared_site import SERVERS, Site

pytestmark = pytest.mark.net


@pytest.fixture(scope="module")
def cluster():
    if reason := missing():
        pytest.skip(reason)
    with Cluster() as made:
        yield made


def test_a_daemon_dies_and_the_database_goes_and_comes_back(cluster, tmp_path, follow):
    with Site(cluster, tmp_path, 300, wait=0.5) as site:
        assert site.storm(outage=3.0, patience=60.0), site.table()
        assert site.faults() == []
        # nobody was offered two addresses, nor refused what it was offered
        assert [(crowd.differed, crowd.refused) for crowd in site.crowds] == [(0, 0)] * 2
        for number in (0, 2):
            log = follow(tmp_path / f"{number}.log")
            assert "0 in conflict" in log.line_of("is back after")
            said = log.path.read_text()
            assert said.count("clients known here keep their addresses, new ones wait") == 1


def test_each_answers_its_share_and_the_rest_when_nobody_does(cluster, tmp_path):
    with Site(cluster, tmp_path, 90, wait=0.5, more="share = {number}/3") as site:
        for crowd in site.crowds:
            crowd.start(crowd.clients.values())
        assert turn(site.crowds, 60.0, lambda: site.acked() == 90)
        offers = Counter(len(client.offers) for client in site.clients)
        assert offers[1] > 45  # where the machine is busy, others come in after 4 s
        site.daemons[0].stop()
        for crowd in site.crowds:
            crowd.heard.clear()
            crowd.start(crowd.clients.values())
        assert turn(site.crowds, 60.0)
        heard = sum((crowd.heard for crowd in site.crowds), Counter())
        assert {server for _, server, kind in heard if kind == Message.ACK} == set(SERVERS[1:])
        assert site.faults() == []
