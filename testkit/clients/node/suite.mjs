// node suite.mjs BINARY [PART OF A TEST'S NAME]

import { readFileSync } from 'node:fs'

import { CompressionTypes } from 'kafkajs'

import { consume, equal, run, test } from './kit.mjs'

// ---- MQTT: mqtt.js -----------------------------------------------------------

for (const protocolVersion of [3, 4, 5]) {
  test(`mqtt: QoS, version ${protocolVersion}`, async (b) => {
    const options = { protocolVersion, ...(protocolVersion === 3 ? { protocolId: 'MQIsdp' } : {}) }
    const sub = await b.mqtt(options)
    const pub = await b.mqtt(options)
    for (const qos of [0, 1, 2]) await sub.subscribeAsync(`q${qos}/#`, { qos })
    for (const granted of [0, 1, 2]) {
      for (const qos of [0, 1, 2]) {
        await pub.publishAsync(`q${granted}/a`, `${qos}`, { qos })
        const m = await sub.inbox.next()
        equal([m.topic, m.payload, m.packet.qos], [`q${granted}/a`, `${qos}`, Math.min(granted, qos)])
      }
    }
  })
}

test('mqtt: websocket', async (b) => {
  const c = await b.mqtt({}, b.urls.mqtt_ws)
  await c.subscribeAsync('t', { qos: 1 })
  await c.publishAsync('t', 'x'.repeat(100_000), { qos: 1 })
  equal((await c.inbox.next()).payload.length, 100_000)
})

for (const url of ['mqtts', 'mqtt_wss']) {
  test(`mqtt: TLS, ${url}`, async (b) => {
    const both = readFileSync(b.pem)
    const c = await b.mqtt({ ca: both, cert: both, key: both }, b.urls[url])
    await c.subscribeAsync('t', { qos: 1 })
    await c.publishAsync('t', 'x'.repeat(100_000), { qos: 1 })
    equal((await c.inbox.next()).payload.length, 100_000)
  })
}

test('mqtt: retained and will', async (b) => {
  const lost = await b.mqtt({ will: { topic: 'state/dev1', payload: Buffer.from('gone'), qos: 1, retain: true } })
  await lost.publishAsync('state/dev1', 'here', { qos: 1, retain: true })
  const sub = await b.mqtt()
  await sub.subscribeAsync('state/+', { qos: 1 })
  let m = await sub.inbox.next()
  equal([m.payload, m.packet.retain], ['here', true])
  lost.stream.destroy()
  m = await sub.inbox.next()
  equal([m.payload, m.packet.retain], ['gone', false])
})

test('mqtt: session', async (b) => {
  const options = { clientId: 'dev1', clean: false, properties: { sessionExpiryInterval: 3600 } }
  const first = await b.mqtt(options)
  await first.subscribeAsync('cmd/#', { qos: 1 })
  await first.endAsync()
  const pub = await b.mqtt()
  for (let i = 0; i < 20; i++) await pub.publishAsync('cmd/go', `${i}`, { qos: 1 })
  const again = await b.mqtt(options)
  const got = await again.inbox.take(20)
  equal(got.map((m) => m.payload), Array.from({ length: 20 }, (_, i) => `${i}`))
})

test('mqtt: shared subscription and properties', async (b) => {
  const members = [await b.mqtt(), await b.mqtt()]
  for (const m of members) {
    m.inbox = members[0].inbox
    await m.subscribeAsync('$share/g/jobs', { qos: 1 })
  }
  const pub = await b.mqtt()
  const properties = { contentType: 'text/plain', correlationData: Buffer.from([0, 255]), userProperties: { a: ['1', '2'], b: '3' } }
  for (let i = 0; i < 40; i++) await pub.publishAsync('jobs', `${i}`, { qos: 1, properties })
  const got = await members[0].inbox.take(40)
  equal(new Set(got.map((m) => m.payload)).size, 40)
  const p = got[0].packet.properties
  equal([p.contentType, [...p.correlationData], p.userProperties.a, p.userProperties.b], ['text/plain', [0, 255], ['1', '2'], '3'])
})

// ---- Kafka: kafkajs ------------------------------------------------------------

for (const [name, compression] of [['none', CompressionTypes.None], ['gzip', CompressionTypes.GZIP]]) {
  test(`kafka: produce and consume, ${name}`, async (b) => {
    const p = await b.producer({ allowAutoTopicCreation: true })
    const messages = Array.from({ length: 50 }, (_, i) => ({ key: `k${i}`, value: `v${i}`, headers: { a: ['1', '2'], b: 'x' } }))
    await p.send({ topic: 't', messages: [...messages, { key: 'tombstone', value: null }], compression })
    const got = await (await b.consumer(['t'])).inbox.take(51)
    equal(got.slice(0, 50).map((m) => [`${m.message.key}`, `${m.message.value}`]), messages.map((m) => [m.key, m.value]))
    equal([`${got[0].message.headers.a}`, `${got[0].message.headers.b}`], ['1,2', 'x'])
    equal(got[50].message.value, null)
  })
}

test('kafka: idempotent producer', async (b) => {
  const p = await b.producer({ idempotent: true, maxInFlightRequests: 1 })
  for (let i = 0; i < 20; i++) await p.send({ topic: 't', messages: [{ value: `${i}` }] })
  const got = await (await b.consumer(['t'])).inbox.take(20)
  equal(got.map((m) => `${m.message.value}`), Array.from({ length: 20 }, (_, i) => `${i}`))
})

test('kafka: admin', async (b) => {
  const a = await b.admin()
  equal(await a.createTopics({ topics: [{ topic: 't', numPartitions: 3, configEntries: [{ name: 'retention.ms', value: '100000' }] }] }), true)
  equal(await a.listTopics(), ['t'])
  equal((await a.fetchTopicMetadata({ topics: ['t'] })).topics[0].partitions.length, 3)
  await a.createPartitions({ topicPartitions: [{ topic: 't', count: 4 }] })
  equal((await a.fetchTopicOffsets('t')).length, 4)
  const configs = await a.describeConfigs({ includeSynonyms: false, resources: [{ type: 2, name: 't', configNames: ['retention.ms'] }] })
  equal(configs.resources[0].configEntries.find((c) => c.configName === 'retention.ms').configValue, '100000')
  equal((await a.describeCluster()).brokers.length, 1)
  await a.deleteTopics({ topics: ['t'] })
  equal(await a.listTopics(), [])
})

test('kafka: group offsets', async (b) => {
  const p = await b.producer()
  await p.send({ topic: 't', messages: Array.from({ length: 10 }, (_, i) => ({ value: `${i}` })) })
  const c = await b.consumer(['t'])
  await c.inbox.take(10)
  await c.commitOffsets([{ topic: 't', partition: 0, offset: '7' }])
  await c.disconnect()
  const a = await b.admin()
  equal((await a.fetchOffsets({ groupId: 'g', topics: ['t'] }))[0].partitions[0].offset, '7')
  const got = await (await b.consumer(['t'])).inbox.take(3)
  equal(got.map((m) => `${m.message.value}`), ['7', '8', '9'])
})

// ---- AMQP: amqplib -------------------------------------------------------------

test('amqp: exchanges and queues', async (b) => {
  const ch = await b.amqp()
  await ch.assertExchange('x', 'topic')
  await ch.assertQueue('q', { durable: true })
  await ch.bindQueue('q', 'x', 'a.#')
  ch.publish('x', 'a.b', Buffer.from('1'), { headers: { n: 1, s: 'x', list: ['a', 2] }, messageId: 'm', persistent: true })
  ch.publish('x', 'b', Buffer.from('2'))
  await ch.waitForConfirms()
  equal((await ch.checkQueue('q')).messageCount, 1)
  const m = await ch.get('q')
  equal([`${m.content}`, m.fields.routingKey, m.properties.messageId], ['1', 'a.b', 'm'])
  equal({ ...m.properties.headers }, { n: 1, s: 'x', list: ['a', 2] })
  ch.nack(m)
  const again = await ch.get('q')
  equal(again.fields.redelivered, true)
  ch.ack(again)
})

test('amqp: mandatory', async (b) => {
  const ch = await b.amqp()
  const returned = new Promise((resolve) => ch.on('return', resolve))
  ch.publish('', 'nobody', Buffer.from('x'), { mandatory: true })
  const m = await returned
  equal([m.fields.replyCode, m.fields.replyText, `${m.content}`], [312, 'NO_ROUTE', 'x'])
})

test('amqp: prefetch and dead letters', async (b) => {
  const ch = await b.amqp()
  await ch.assertQueue('dead')
  await ch.assertQueue('q', { deadLetterExchange: '', deadLetterRoutingKey: 'dead', messageTtl: 60_000 })
  for (let i = 0; i < 5; i++) ch.sendToQueue('q', Buffer.from(`${i}`))
  await ch.waitForConfirms()
  await ch.prefetch(2)
  const inbox = await consume(ch, 'q')
  const [first, second] = await inbox.take(2)
  equal((await ch.checkQueue('q')).messageCount, 3)
  ch.nack(first, false, false)
  ch.ack(second)
  await inbox.take(2)
  const dead = await (await consume(ch, 'dead', { noAck: true })).next()
  equal([`${dead.content}`, dead.properties.headers['x-death'][0].reason, dead.properties.headers['x-death'][0].queue], ['0', 'rejected', 'q'])
})

test('amqp: errors close the channel alone', async (b) => {
  const ch = await b.amqp()
  let code
  try {
    await ch.checkQueue('nobody')
  } catch (e) {
    code = e.code ?? ch.failed?.code
  }
  equal(code, 404)
  const other = await ch.connection2.createChannel()
  await other.assertQueue('q')
})

// ---- the nine directions -----------------------------------------------------------

const send = {
  mqtt: async (b, v) => (await b.mqtt()).publishAsync('sensors/dev1/temp', v, { qos: 1, properties: { contentType: 'text/plain', userProperties: { unit: 'C' } } }),
  kafka: async (b, v) =>
    (await b.producer()).send({ topic: 'sensors.dev1.temp', messages: [{ key: 'k', value: v, headers: { unit: 'C', 'content-type': 'text/plain' } }] }),
  amqp: async (b, v) => {
    const ch = await b.amqp()
    ch.publish('amq.topic', 'sensors.dev1.temp', Buffer.from(v), { persistent: true, contentType: 'text/plain', headers: { unit: 'C' } })
    await ch.waitForConfirms()
  },
}

for (const source of Object.keys(send)) {
  test(`cross: ${source} to all`, async (b) => {
    const sub = await b.mqtt()
    await sub.subscribeAsync('sensors/+/temp', { qos: 1 })
    const queue = await b.bound('sensors.#')
    for (const v of ['1', '2', '3']) await send[source](b, v)
    for (const v of ['1', '2', '3']) {
      const m = await sub.inbox.next()
      equal([m.topic, m.payload, m.packet.properties.contentType, m.packet.properties.userProperties.unit], ['sensors/dev1/temp', v, 'text/plain', 'C'])
      equal(m.packet.properties.userProperties['rmq-proto'], source === 'mqtt' ? undefined : source)
      const d = await queue.inbox.next()
      equal([d.fields.exchange, d.fields.routingKey, `${d.content}`, d.properties.contentType, d.properties.headers.unit],
        ['amq.topic', 'sensors.dev1.temp', v, 'text/plain', 'C'])
    }
    const topic = source === 'kafka' ? 'sensors.dev1.temp' : 'sensors'
    const got = await (await b.consumer([topic])).inbox.take(3)
    equal(got.map((r) => [`${r.message.value}`, `${r.message.key}`, `${r.message.headers.unit}`]),
      ['1', '2', '3'].map((v) => [v, source === 'kafka' ? 'k' : 'sensors/dev1/temp', 'C']))
  })
}

await run(process.argv[2], process.argv[3])
