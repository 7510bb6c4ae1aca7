// The examples of docs/testing/node.md, and what else the package promises.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import amqp from 'amqplib'
import mqtt from 'mqtt'
import { connect, start } from '@rmq/testkit'

// [setup]
let rmq
before(async () => { rmq = await connect() })
after(() => rmq.close())
// [setup]

// [records]
test('the temperature is published', async () => {
  const client = await mqtt.connectAsync(rmq.mqttUrl)
  await client.publishAsync('plant/dev1/temp', '{"celsius": 31}', { qos: 1 })
  await client.endAsync()

  const [record] = await rmq.topic('plant/dev1/temp').wantRecords(1)
  assert.equal(record.json().celsius, 31)
  assert.equal(record.address, 'plant/dev1/temp')
})
// [records]

// [clock]
test('an order is given up after a day', async () => {
  await rmq.clock.freeze()
  const connection = await amqp.connect(rmq.amqpUrl)
  const channel = await connection.createChannel()
  await channel.assertQueue('given-up')
  await channel.assertQueue('open-orders', { messageTtl: 86_400_000, deadLetterExchange: '', deadLetterRoutingKey: 'given-up' })
  channel.sendToQueue('open-orders', Buffer.from('order 7'))
  await rmq.queue('open-orders').want('ready=1')

  await rmq.clock.advance('23h59m59s')
  assert.equal(await rmq.queue('open-orders').ready(), 1)
  await rmq.clock.advance('1s') // returns when all that was due has happened
  assert.equal(await rmq.queue('open-orders').ready(), 0)
  const [message] = await rmq.queue('given-up').messages()
  assert.equal(message.text, 'order 7')
  await connection.close() // it has lived through the day
  await rmq.clock.resume()
})
// [clock]

test('a wait that is in vain says how it stands', async () => {
  await assert.rejects(rmq.topic('nothing/here').want('records=2', { within: '10ms' }), /records=2 did not come true within 10ms: there is none/)
  await assert.rejects(rmq.queue('given-up').want('redy=2'), { category: 'usage' })
  assert.equal(await rmq.topic('nothing/here').exists(), false)
})

test('where chooses messages', async () => {
  const client = await mqtt.connectAsync(rmq.mqttUrl)
  for (const celsius of [21, 31]) await client.publishAsync('furnace/temp', JSON.stringify({ celsius }), { qos: 1, retain: true })
  await client.endAsync()
  const [hot] = await rmq.topic('furnace').wantRecords(1, { where: 'json.celsius > 30' })
  assert.equal(hot.json().celsius, 31)
  assert.deepEqual((await rmq.wantRetained('furnace/#')).map((m) => m.text), ['{"celsius":31}'])
})

// [faults]
test('who gets no PUBACK sends again', async () => {
  await rmq.reset() // in a beforeEach hook: every test begins with an empty broker
  const broken = await rmq.fault('mqtt/PUBACK', 'reset', { times: 1 })
  const client = await mqtt.connectAsync(rmq.mqttUrl, { clientId: 'shop', clean: false, reconnectPeriod: 1 })
  await client.publishAsync('orders/7', 'paid', { qos: 1 })

  assert.equal(await broken.fired(), 1)
  assert.equal((await rmq.topic('orders').records()).length, 2) // what at least once means
  await client.endAsync()
})
// [faults]

test('a reset leaves nothing', async () => {
  const client = await mqtt.connectAsync(rmq.mqttUrl)
  await client.publishAsync('plant/dev1/temp', '21.5', { qos: 1, retain: true })
  assert.equal((await rmq.sessions()).length > 0, true)
  await client.endAsync()
  const connection = await amqp.connect(rmq.amqpUrl)
  await (await connection.createChannel()).assertQueue('jobs')
  await connection.close()
  const fault = await rmq.fault('mqtt/in/PUBLISH', 'delay', { delay: '1h', from: '1h' })
  assert.equal(await fault.seen(), 0)
  const other = await rmq.fault('kafka/Produce', 'fail', { code: 'NOT_LEADER_OR_FOLLOWER' })
  await other.remove()
  await assert.rejects(other.fired(), /there is no fault/)
  const gone = await rmq.reset()
  assert.ok(gone.topics >= 1 && gone.queues >= 1 && gone.retained >= 1 && gone.faults >= 1, JSON.stringify(gone))
  for (const left of [await rmq.topics(), await rmq.queues(), await rmq.groups(), await rmq.retained()]) assert.deepEqual(left, [])
})

test('a broker of its own', async () => {
  const own = await start(['--clock', 'virtual@2030-01-01T00:00:00Z'])
  try {
    assert.equal((await own.clock.advance('24h')).now, '2030-01-02T00:00:00Z')
    await assert.rejects(own.clock.set('2029-01-01T00:00:00Z'), /time does not go back/)
  } finally {
    await own.close()
  }
})
