// A broker for tests in Node: MQTT, Kafka and AMQP, with a clock that tests move. For node:test, vitest
// and whatever else has hooks that may be asynchronous.
//
//	import { connect } from '@rmq/testkit'
//
//	const rmq = await connect()        // in a before hook
//	await rmq.clock.advance('24h')
//	await rmq.queue('dead').want('ready=1')
//	await rmq.close()                  // in an after hook
//
// Under `rmq test -- npm test` it is the broker that rmq runs; otherwise one is started by `rmq up`, in
// memory, on free ports. RMQ_BINARY names the program; without it, `rmq` is found by PATH. It depends on
// nothing but Node. docs/CONTROL.md tells what it calls.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What the broker answers that is no result. Its category is one of docs/CONTROL.md. */
export class RmqError extends Error {
  constructor(error) {
    super(error.hint ? `${error.message} (hint: ${error.hint})` : error.message)
    this.name = 'RmqError'
    this.code = error.code
    this.category = error.category
  }
}

/** The broker that RMQ_CONTROL_URL names, or one that is started with flags of `rmq up`. */
export async function connect({ control = process.env.RMQ_CONTROL_URL, flags } = {}) {
  return control ? new Broker(control).open() : start(flags)
}

/** Starts a broker of this process's own. */
export async function start(flags = ['--clock', 'running']) {
  const home = await mkdtemp(join(tmpdir(), 'rmq-')) // its run file is nobody's business
  const env = { ...process.env, XDG_RUNTIME_DIR: home, XDG_STATE_HOME: home, XDG_DATA_HOME: home }
  const child = spawn(process.env.RMQ_BINARY || 'rmq', ['up', '--quiet', '--memory', '--any-port', '--json', ...flags], {
    env, stdio: ['ignore', 'pipe', 'inherit'],
  })
  const kill = () => child.kill()
  process.once('exit', kill)
  const stop = async () => {
    process.removeListener('exit', kill)
    if (child.exitCode === null && child.signalCode === null && child.pid) {
      child.kill()
      const late = setTimeout(() => child.kill('SIGKILL'), 1000) // for clients that are connected still it would wait longer
      await once(child, 'exit')
      clearTimeout(late)
    }
    await rm(home, { recursive: true, force: true })
  }
  try {
    const status = await new Promise((resolve, reject) => {
      let text = ''
      child.on('error', reject)
      child.on('exit', (code) => reject(new Error(`rmq up has ended with ${code}; it says why above`)))
      child.stdout.on('data', (chunk) => {
        text += chunk
        if (text.endsWith('\n}\n')) resolve(JSON.parse(text)) // one object, over several lines
      })
    })
    return await new Broker(status.data.urls.http, stop).open()
  } catch (e) {
    await stop()
    throw e
  }
}

const bytes = (of, name) =>
  of[name] === null || of[name] === undefined ? null : Buffer.from(of[name], of[`${name}_encoding`] === 'base64' ? 'base64' : 'utf8')

/** A message as the broker has it: value, key and headers are Buffers, text is the value as text. */
function message(m, more = {}) {
  const value = bytes(m, 'value')
  return {
    ...m, ...more, value, key: bytes(m, 'key'), text: value?.toString() ?? null,
    json: () => JSON.parse(value.toString()),
    headers: (m.headers ?? []).map((h) => ({ name: h.name, value: h.value === null ? null : Buffer.from(h.value, h.encoding === 'base64' ? 'base64' : 'utf8') })),
  }
}

/** The time that the broker goes by. Frozen, it moves when a test moves it alone. */
class Clock {
  constructor(broker) {
    this.broker = broker
  }
  /** @returns {{now: string, frozen: boolean, kind: string}} */
  state() {
    return this.broker.call('GET', '/v1/clock')
  }
  freeze() {
    return this.broker.call('POST', '/v1/clock/freeze')
  }
  resume() {
    return this.broker.call('POST', '/v1/clock/resume')
  }
  /** Moves on by '24h', and returns once all that was due has happened. */
  advance(by, { liveness = false } = {}) {
    return this.broker.call('POST', '/v1/clock/advance', { body: { by, liveness } })
  }
  /** Moves on to a time. It does not go back. */
  set(to, { liveness = false } = {}) {
    return this.broker.call('POST', '/v1/clock/advance', { body: { to: to instanceof Date ? to.toISOString() : to, liveness } })
  }
}

/** Something that is to go wrong. */
class Fault {
  constructor(broker, name) {
    Object.assign(this, { broker, name })
  }
  async state() {
    const { rules } = await this.broker.call('GET', '/v1/chaos')
    const rule = rules.find((r) => r.name === this.name)
    if (!rule) throw new Error(`there is no fault ${this.name} any more`)
    return rule
  }
  /** How often it has happened. */
  async fired() {
    return (await this.state()).fired
  }
  /** How often it might have happened. */
  async seen() {
    return (await this.state()).seen
  }
  remove() {
    return this.broker.call('DELETE', `/v1/chaos/${encodeURIComponent(this.name)}`)
  }
}

/** A topic, queue, session or group, by its name. It need not exist yet. */
class Thing {
  constructor(broker, kind, name) {
    Object.assign(this, { broker, kind, name })
    this.path = `/v1/${kind}s/${encodeURIComponent(name)}`
  }
  /** What the broker tells of it; null: there is none. */
  async info() {
    try {
      return await this.broker.call('GET', this.path)
    } catch (e) {
      if (e.category === 'not_found') return null
      throw e
    }
  }
  async exists() {
    return (await this.info()) !== null
  }
  /** Waits until conditions hold ('ready>=1', 'gone'), and returns what it waited for. */
  want(conditions = [], { where, within = '10s' } = {}) {
    return this.broker.want({ [this.kind]: this.name, if: [conditions].flat(), where, within })
  }
}

class Topic extends Thing {
  async records({ where, limit = 1000 } = {}) {
    return (await this.broker.call('GET', `${this.path}/records`, { query: { where, limit } })).map((m) => message(m))
  }
  /** Waits until it has so many records, of those where is about, and returns them. */
  async wantRecords(count, { where, within } = {}) {
    if (where) return ((await this.want(`messages=${count}`, { where, within })).messages ?? []).map((m) => message(m))
    await this.want(`records=${count}`, { within })
    return this.records()
  }
}

class Queue extends Thing {
  /** Those that wait or are with consumers. None is consumed by it. */
  async messages({ where, limit = 1000 } = {}) {
    const all = await this.broker.call('GET', `${this.path}/messages`, { query: { where, limit } })
    return all.map((q) => message(q.message, { state: q.state, deliveries: q.deliveries }))
  }
  async ready() {
    return (await this.info())?.ready ?? 0
  }
  async unacked() {
    return (await this.info())?.unacked ?? 0
  }
}

/** A running broker: where clients connect, what it holds, and its clock. */
export class Broker {
  constructor(control, stop = async () => {}) {
    this.controlUrl = control.replace(/\/$/, '')
    this.clock = new Clock(this)
    this.close = stop
  }
  async open() {
    const { urls } = await this.call('GET', '/v1/status')
    this.mqttUrl = urls.mqtt
    this.amqpUrl = urls.amqp
    this.kafkaBrokers = (process.env.KAFKA_BOOTSTRAP_SERVERS || urls.kafka?.replace('kafka://', '') || '').split(',')
    return this
  }
  /** One exchange with the control API: its data, or an RmqError. */
  async call(method, path, { query = {}, body } = {}) {
    const url = new URL(this.controlUrl + path)
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value)
    const answer = await fetch(url, { method, body: body && JSON.stringify(body), headers: { 'Content-Type': 'application/json' } })
    const envelope = await answer.json()
    if (envelope.error) throw new RmqError(envelope.error)
    return envelope.data
  }
  /** Waits until something is so: want({ queue: 'jobs', if: ['ready=1'] }). */
  want(what) {
    return this.call('POST', '/v1/want', { body: what })
  }
  /**
   * Has something go wrong from now on: fault('mqtt/PUBACK', 'drop', { client: 'dev1', times: 1 }).
   * docs/CHAOS.md tells where, and what.
   */
  async fault(at, does, rule = {}) {
    return new Fault(this, (await this.call('POST', '/v1/chaos', { body: { at, do: does, ...rule } })).name)
  }
  /** Takes away what clients have made, and all faults. What it returns counts them. */
  reset() {
    return this.call('POST', '/v1/reset')
  }
  /** What there is: topics, and queues, sessions and groups below, as docs/CONTROL.md has them. */
  topics() {
    return this.call('GET', '/v1/topics')
  }
  queues() {
    return this.call('GET', '/v1/queues')
  }
  sessions() {
    return this.call('GET', '/v1/sessions')
  }
  groups() {
    return this.call('GET', '/v1/groups')
  }
  topic(name) {
    return new Topic(this, 'topic', name)
  }
  queue(name) {
    return new Queue(this, 'queue', name)
  }
  session(clientId) {
    return new Thing(this, 'session', clientId)
  }
  group(id) {
    return new Thing(this, 'group', id)
  }
  async retained(filter = '#') {
    return (await this.call('GET', '/v1/retained', { query: { filter } })).map((m) => message(m))
  }
  async wantRetained(filter, count = 1, { within = '10s' } = {}) {
    return ((await this.want({ retained: filter, if: [`messages=${count}`], within })).messages ?? []).map((m) => message(m))
  }
}
