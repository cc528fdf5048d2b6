"""The blocking worker: one job at a time, no thread. python blocking.py HOST PORT FUNC; SIGTERM ends it in order.

A workload is JSON: {"ms": how long to work, "fail": text}. Prints a line for each run.
"""
import json, signal, socket, sys, time
import msgpack

stop = False


def ask_to_stop(*_):
    global stop
    stop = True


def run(job):
    """The outcome of the job: an exception is a failure."""
    todo = json.loads(job["workload"] or b"{}")
    time.sleep(todo.get("ms", 0) / 1000)
    if "fail" in todo and job["attempt"] == 1:
        raise RuntimeError(todo["fail"])
    return {"outcome": "done"}


def main(host, port, func):
    signal.signal(signal.SIGTERM, ask_to_stop)
    link = socket.create_connection((host, int(port)))
    link.settimeout(0.5)  # not 15 s: Python takes a recv up again after a signal, and a stop would wait so long
    messages = msgpack.Unpacker(strict_map_key=False, unicode_errors="replace", max_buffer_size=64 << 20)
    last_sent, msgid, goodbye = 0.0, 0, None

    def send(message):
        nonlocal last_sent
        link.settimeout(None)
        link.sendall(msgpack.packb(message))
        link.settimeout(0.5)
        last_sent = time.monotonic()

    def request(method, *params):
        nonlocal msgid
        msgid += 1
        send([0, msgid, method, list(params)])
        return msgid

    request("hello", {"client": "blocking.py", "silence_ms": 3600000, "disconnect_grace_ms": 5000})
    request("subscribe", func, {"limit": 1})
    while True:
        if stop and goodbye is None:
            goodbye = request("unsubscribe_all")
        for message in messages:
            match message:
                case [0, number, "perform", [job, *_]]:
                    if stop:
                        send([1, number, None, {"outcome": "later"}])
                        continue
                    print("run", job["name"], job["attempt"], flush=True)
                    try:
                        send([1, number, None, run(job)])
                    except RuntimeError as error:
                        send([1, number, str(error), None])
                    if stop:
                        break  # say goodbye before the next one
                case [0, number, *_]:
                    send([1, number, "UNKNOWN_METHOD: a worker knows perform", None])
                case [1, number, None, _] if number == goodbye:
                    return link.close()  # this answer also says that all responses have arrived
                case [1, _, error, _] if error is not None:
                    sys.exit(f"blocking.py: {error}")
        else:
            try:
                data = link.recv(65536)
            except TimeoutError:
                if time.monotonic() - last_sent > 15:
                    request("ping")
                continue
            if not data:
                sys.exit("blocking.py: the daemon closed the connection")
            messages.feed(data)


main(*sys.argv[1:4])
