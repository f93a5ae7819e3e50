"""The server and the proxy that the other tests rely on."""

import obstore
import obstore.store
import pytest

QUICK = {"max_retries": 0}


def test_bucket_stores_objects(bucket):
    store = obstore.store.from_url(bucket)
    obstore.put(store, "a/b", b"12345")
    assert bytes(obstore.get_range(store, "a/b", start=1, end=3)) == b"23"


def test_proxy_counts_bytes_and_requests(bucket, proxy):
    store = obstore.store.from_url(bucket)
    obstore.put(store, "a", b"12345")
    assert bytes(obstore.get(store, "a").bytes()) == b"12345"
    assert obstore.head(store, "a")["size"] == 5
    assert [entry["path"] for page in obstore.list(store) for entry in page] == ["a"]
    assert proxy.sent("PUT") == [5]


def test_network_comes_back(bucket, proxy):
    store = obstore.store.from_url(bucket, retry_config=QUICK)
    proxy.turn_off()
    with pytest.raises(obstore.exceptions.GenericError):
        obstore.put(store, "a", b"1")
    proxy.turn_on()
    obstore.put(store, "a", b"2")
    assert bytes(obstore.get(store, "a").bytes()) == b"2"


def test_random_faults_need_retries(bucket, proxy):
    proxy.fail_at_random(seed=0, rate=0.5)
    failures = 0
    for _ in range(20):
        try:
            obstore.put(obstore.store.from_url(bucket, retry_config=QUICK), "a", b"1")
        except obstore.exceptions.BaseError:
            failures += 1
    assert 0 < failures < 20
    store = obstore.store.from_url(bucket)
    for number in range(5):
        obstore.put(store, "b", b"%d" % number)
    assert bytes(obstore.get(store, "b").bytes()) == b"4"
