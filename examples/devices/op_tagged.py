"""A device that updates its firmware in the op-tagged language: SYNC, WRITE and SWAP, in CBOR or JSON, over mutual TLS.

It takes the options of the device beside it, `embedded-update`, and keeps its flash in a folder the same way: what is
stored is also the progress, so a reboot or a lost connection goes on where it was.

    pip install paho-mqtt==2.1.0 cbor2==6.2.1
    python op_tagged.py --gateway localhost:8883 --certs certs --flash flash --until 0.1.1 truck-8

With `--patches "detools apply_patch"`, or any other program that is called as `PROGRAM OLD PATCH NEW`, it takes patches
to what it runs, which is `image` in its folder.
"""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import queue
import shlex
import ssl
import subprocess
import sys
import time

import cbor2
import paho.mqtt.client as mqtt

PATCH_FORMAT = "detools-heatshrink"
POWER_CUT = 75  # What a simulated loss of power ends the program with.
ANSWER_SECONDS = 15


class Refused(Exception):
    """A command that cannot be followed."""


class Flash:
    """What the device runs, and what it has stored of what it is to run next: an image, or a patch that makes one."""

    def __init__(self, folder, factory):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.running = self._text("running") or factory
        self.next = self._text("next")
        self.patch = self._text("next.patch")
        self.blocks = 0

    def _text(self, name):
        path = self.folder / name
        return path.read_text() if path.exists() else None

    @property
    def offset(self):
        return (self.folder / "next.image").stat().st_size

    @property
    def patchable(self):
        """Whether there is an image to apply a patch to, and none has failed on it."""
        return (self.folder / "image").exists() and not (self.folder / "unpatchable").exists()

    def erase(self, version, patch=None):
        self.forget()
        (self.folder / "next.image").write_bytes(b"")
        if patch is not None:
            (self.folder / "next.patch").write_text(patch)
        (self.folder / "next").write_text(version)
        self.next, self.patch, self.blocks = version, patch, 0

    def forget(self):
        """What is stored is nothing any more."""
        for name in ["next", "next.patch"]:
            (self.folder / name).unlink(missing_ok=True)
        self.next, self.patch = None, None

    def write(self, version, offset, data, patch):
        if offset == 0:
            self.erase(version, patch)
        if (version, patch, offset) != (self.next, self.patch, self.offset):
            raise Refused(f"a block for byte {offset} of {version}, but byte {self.offset} of {self.next} is next")
        with open(self.folder / "next.image", "ab") as image:
            image.write(data)
        self.blocks += 1

    def swap(self, version, checksum, patcher):
        """Starts what is stored if it is what the gateway says it should be; returns its size. If a patch does not make
        that, the image is to come whole."""
        if version != self.next:  # Without a block before it, the image is empty.
            self.erase(version)
        stored = self.folder / "next.image"
        if self.patch is not None:
            stored = self.folder / "next.made"
            stored.unlink(missing_ok=True)
            subprocess.run([*patcher, self.folder / "image", self.folder / "next.image", stored], check=False)
        image = stored.read_bytes() if stored.exists() else b""
        if hashlib.sha256(image).hexdigest() != checksum:
            if self.patch is None:
                self.forget()
                raise Refused(f"told to start {version}, but what is stored has another checksum")
            (self.folder / "unpatchable").touch()
            self.forget()
            return None
        stored.rename(self.folder / "image")
        (self.folder / "running").write_text(version)
        (self.folder / "unpatchable").unlink(missing_ok=True)
        self.forget()
        return len(image)


class Language:
    """The op-tagged messages: CBOR with byte strings, or JSON with Base64."""

    def __init__(self, is_json):
        self.is_json = is_json

    def encode(self, status):
        return json.dumps(status).encode() if self.is_json else cbor2.dumps(status)

    def decode(self, payload):
        command = json.loads(payload) if self.is_json else cbor2.loads(payload)
        if self.is_json and "data" in command:
            command["data"] = base64.b64decode(command["data"], validate=True)
        return command


class Connection:
    """One connection, on which one status is answered by one command."""

    def __init__(self, options):
        self.events = queue.Queue()
        base = "/".join(filter(None, ["dfu", options.parent, options.name]))
        self.topic = f"{base}/status"
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=options.name)
        identity = options.certs / (options.parent or options.name)
        self.client.tls_set(options.certs / "ca.pem", f"{identity}.pem", f"{identity}-key.pem",
                            tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.client.on_connect = lambda client, *_: client.subscribe(f"{base}/command", 1)
        self.client.on_subscribe = lambda _c, _u, _m, reasons, _p: self.events.put(reasons[0].is_failure)
        self.client.on_message = lambda _c, _u, message: self.events.put(message.payload)
        host, port = options.gateway.rsplit(":", 1)
        self.client.connect(host, int(port))
        self.client.loop_start()
        if self.events.get(timeout=ANSWER_SECONDS):
            raise Refused(f"the gateway does not let {options.name} receive {base}/command")

    def ask(self, payload):
        self.client.publish(self.topic, payload, 1)
        return self.events.get(timeout=ANSWER_SECONDS)

    def cut(self):
        """Ends without a goodbye."""
        self.client.loop_stop()
        self.client.socket().close()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


class Device:
    def __init__(self, options):
        self.options = options
        self.language = Language(options.json)
        self.cut_at = options.cut_at
        self.connection = None
        self.boot()

    def say(self, text):
        print(f"{self.options.name}: {text}", flush=True)

    def boot(self):
        """All that a device knows after a reboot is what is in its flash."""
        self.flash = Flash(self.options.flash / self.options.name, self.options.factory)
        self.say(f"runs {self.flash.running}")

    def status(self):
        status = {"version": self.flash.running, "mtu": self.options.mtu}
        if self.options.patches and self.flash.patchable:
            status["patches"] = [PATCH_FORMAT]
        if self.flash.next is not None:
            status["status"] = {"version": self.flash.next, "offset": self.flash.offset}
            if self.flash.patch is not None:
                status["status"]["patch"] = self.flash.patch
        return status

    def ask(self):
        """Sends the status and returns the command; none when the connection was lost."""
        if self.connection is None:
            self.connection = Connection(self.options)
        stored = self.flash.offset if self.flash.next is not None else 0
        try:
            payload = self.connection.ask(self.language.encode(self.status()))
        except queue.Empty:
            self.connection.cut()
            self.connection = None
            return None
        if self.cut_at is not None and stored >= self.cut_at:
            self.cut_at = None
            self.say(f"loses its connection with {stored} bytes stored")
            self.connection.cut()
            self.connection = None
            return None
        return self.language.decode(payload)

    def step(self):
        """Follows one command; true when the device has what it is to run and nothing more to do."""
        command = self.ask()
        if command is None:
            return False
        operation, version = command["op"], command.get("version")
        if operation == "WRITE":
            if command["size"] != len(command["data"]):
                raise Refused(f"a block of {len(command['data'])} bytes that says it has {command['size']}")
            patch = command.get("patch")
            if patch is not None and (patch != PATCH_FORMAT or not self.options.patches):
                raise Refused(f"a block of a patch of the format {patch}, which it cannot apply")
            self.flash.write(version, command["offset"], command["data"], patch)
            if self.options.power_cut_at is not None and self.flash.offset >= self.options.power_cut_at:
                self.say(f"loses power with {self.flash.offset} bytes stored, {self.flash.blocks} blocks")
                os._exit(POWER_CUT)
        elif operation == "SWAP":
            self.swap(version, command["checksum"])
        elif operation == "SYNC":
            self.say(f"{self.flash.running} is good")
            if self.flash.running == self.options.until:
                return True
            time.sleep(command.get("poll") or 1)
        elif operation == "WAIT":
            self.say(f"waits {command.get('poll', 0)} s")
            time.sleep(command.get("poll") or 1)
        else:
            raise Refused(f"told to {operation}, which it does not know")
        return False

    def swap(self, version, checksum):
        blocks, patched = self.flash.blocks, self.flash.patch is not None
        of = f" of a patch of {self.flash.offset} bytes" if patched else ""
        size = self.flash.swap(version, checksum, self.options.patches)
        if size is None:
            self.say(f"cannot make {version}{of}, and asks for the whole image")
        else:
            self.say(f"starts {version}, {size} bytes{of} in {blocks} blocks")
        self.boot()

    def live(self):
        while not self.step():
            pass
        self.connection.close()


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    path = pathlib.Path
    parser.add_argument("name", help="the device's name; its files are NAME.pem and NAME-key.pem")
    parser.add_argument("--gateway", default="localhost:8883", help="where the gateway listens")
    parser.add_argument("--certs", type=path, default="certs", help="the folder of the certificates, with ca.pem")
    parser.add_argument("--flash", type=path, default="flash", help="the folder of the flashes")
    parser.add_argument("--factory", default="0.1.0", help="what a device with an empty flash runs")
    parser.add_argument("--mtu", type=int, default=512, help="the largest block that the device takes")
    parser.add_argument("--json", action="store_true", help="speak JSON; without it, CBOR")
    parser.add_argument("--patches", type=shlex.split, metavar="PROGRAM",
                        help="take patches, and apply them with PROGRAM OLD PATCH NEW, such as 'detools apply_patch'")
    parser.add_argument("--parent", help="the device that it is a child of, whose certificate it uses")
    parser.add_argument("--until", help="end when the device runs this version and the gateway has confirmed it")
    parser.add_argument("--cut-at", type=int, help="lose the connection, once, when so many bytes are stored")
    parser.add_argument("--power-cut-at", type=int, help="end with code 75 when so many bytes are stored")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        Device(options()).live()
    except (Refused, OSError, queue.Empty) as problem:
        sys.exit(f"op_tagged.py: {problem or 'the gateway does not answer'}")
