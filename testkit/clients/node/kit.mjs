// What the suite stands on: a broker of one's own for each test, and clients that wait for
// events, for at most PATIENCE milliseconds.

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import amqplib from 'amqplib'
import { Kafka, logLevel } from 'kafkajs'
import mqtt from 'mqtt'

const PATIENCE = 30_000

/** A queue of what callbacks bring. */
export class Inbox {
  #items = []
  #waiting = []

  put(item) {
    const w = this.#waiting.shift()
    if (w) w(item)
    else this.#items.push(item)
  }

  next(what = 'a message') {
    if (this.#items.length) return Promise.resolve(this.#items.shift())
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${what}: nothing came`)), PATIENCE)
      this.#waiting.push((item) => {
        clearTimeout(timer)
        resolve(item)
      })
    })
  }

  async take(count) {
    const out = []
    while (out.length < count) out.push(await this.next(`${out.length} of ${count}`))
    return out
  }
}

/** Makes a certificate for this machine, which signs itself, and its key: broker, authority and client. */
function pem(home) {
  const [key, cert] = [join(home, 'key'), join(home, 'both.pem')]
  const command = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1'
  execFileSync('openssl', [...command.split(' '), '-keyout', key, '-out', cert], { stdio: 'ignore' })
  appendFileSync(cert, readFileSync(key))
  return cert
}

export class Broker {
  #ends = []

  static async start(binary) {
    const b = new Broker()
    b.home = mkdtempSync(join(tmpdir(), 'rmq-clients'))
    const env = { ...process.env, HOME: b.home, XDG_RUNTIME_DIR: b.home, XDG_STATE_HOME: b.home, XDG_DATA_HOME: b.home }
    b.pem = pem(b.home)
    const tls = ['--tls-cert', b.pem, '--tls-ca', b.pem, '--tls-client-cert', 'optional']
    b.process = spawn(binary, ['up', '--memory', '--any-port', '--json', ...tls], { env, cwd: b.home })
    b.errors = ''
    b.process.stderr.on('data', (d) => (b.errors += d))
    b.ended = new Promise((resolve) => b.process.on('exit', resolve))
    let text = ''
    const status = await new Promise((resolve, reject) => {
      b.process.stdout.on('data', (d) => {
        text += d
        if (text.endsWith('\n}\n')) resolve(JSON.parse(text))
      })
      b.ended.then(() => reject(new Error(`rmq up: ${text}${b.errors}`)))
    })
    b.urls = status.data.urls
    return b
  }

  async close() {
    for (const end of this.#ends.reverse()) {
      try {
        await end()
      } catch {
        // a client that the test has ended already
      }
    }
    const alive = this.process.exitCode === null
    this.process.kill()
    await this.ended
    rmSync(this.home, { recursive: true, force: true })
    if (!alive) throw new Error(`the broker had ended:\n${this.errors}`)
  }

  async mqtt(options = {}, url = this.urls.mqtt) {
    const c = mqtt.connect(url, { protocolVersion: 5, reconnectPeriod: 0, ...options })
    this.#ends.push(() => c.endAsync(true))
    c.inbox = new Inbox()
    // Before CONNACK: what a session kept comes right behind it.
    c.on('message', (topic, payload, packet) => c.inbox.put({ topic, payload: payload.toString(), packet }))
    await once(c, 'connect')
    return c
  }

  kafka() {
    return new Kafka({ clientId: 'suite', brokers: [this.urls.kafka.replace('kafka://', '')], logLevel: logLevel.NOTHING })
  }

  async producer(options) {
    const p = this.kafka().producer(options)
    await p.connect()
    this.#ends.push(() => p.disconnect())
    return p
  }

  async admin() {
    const a = this.kafka().admin()
    await a.connect()
    this.#ends.push(() => a.disconnect())
    return a
  }

  /** Consumes topics from what its group has committed, or from their start; commits nothing itself. */
  async consumer(topics, groupId = 'g') {
    const c = this.kafka().consumer({ groupId, sessionTimeout: 6000, maxWaitTimeInMs: 100 })
    await c.connect()
    this.#ends.push(() => c.disconnect())
    await c.subscribe({ topics, fromBeginning: true })
    c.inbox = new Inbox()
    await c.run({ autoCommit: false, eachMessage: async (m) => c.inbox.put(m) })
    return c
  }

  async amqp() {
    const conn = await amqplib.connect(this.urls.amqp)
    conn.on('error', () => {})
    this.#ends.push(() => conn.close())
    const ch = await conn.createConfirmChannel()
    ch.on('error', (e) => (ch.failed = e))
    ch.connection2 = conn
    return ch
  }

  /** Consumes a queue of its own, bound to amq.topic. */
  async bound(...keys) {
    const ch = await this.amqp()
    const { queue } = await ch.assertQueue('', { exclusive: true })
    for (const k of keys) await ch.bindQueue(queue, 'amq.topic', k)
    ch.inbox = await consume(ch, queue, { noAck: true })
    return ch
  }
}

export async function consume(ch, queue, options) {
  const inbox = new Inbox()
  await ch.consume(queue, (m) => inbox.put(m), options)
  return inbox
}

const tests = []
export const test = (name, fn) => tests.push([name, fn])
export const equal = (got, want) => assert.deepEqual(got, want)

export async function run(binary, only = '') {
  let passed = 0
  let failed = 0
  for (const [name, fn] of tests) {
    if (!name.includes(only)) continue
    const started = performance.now()
    let error
    try {
      const b = await Broker.start(binary)
      try {
        await fn(b)
      } finally {
        await b.close()
      }
    } catch (e) {
      error = e
    }
    const took = ((performance.now() - started) / 1000).toFixed(2)
    if (error) failed++
    else passed++
    console.log(`${error ? 'FAIL' : 'ok  '}  ${took}s  ${name}`)
    if (error) console.log(error.stack)
  }
  console.log(`${passed} passed, ${failed} failed`)
  process.exit(failed || !passed ? 1 : 0)
}
