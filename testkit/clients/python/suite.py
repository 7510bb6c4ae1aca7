"""python suite.py BINARY [PART OF A TEST'S NAME]"""

import sys

import kit
import aio_test, amqp_test, cross_test, kafka_test, mqtt_test  # noqa: E401,F401: they register their tests

sys.exit(kit.run(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
