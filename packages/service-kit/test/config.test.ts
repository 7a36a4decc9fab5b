import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { Type } from '@sinclair/typebox'
import t from 'tap'
import { ConfigError, readConfig, secretString } from '../src/config.ts'
import { redisConfig, redisOptions, redisRule } from '../src/redis-config.ts'
import { serviceConfig, serviceRule } from '../src/service-config.ts'
import { configuredStore, s3Options, storeConfig, storeRule } from '../src/store-config.ts'

const password = 'PAssWord!@123#%/?: "'
const schema = Type.Object({ ...redisConfig, ...serviceConfig({ port: 8090, logdyPort: 8233 }) })
const read = (env: Record<string, string>) => readConfig(schema, env, [redisRule, serviceRule])

const faultsIn = (attempt: () => unknown): ConfigError => {
  try {
    attempt()
  } catch (error) {
    if (error instanceof ConfigError) return error
  }
  throw new Error('the configuration was accepted')
}

const faultsOf = (env: Record<string, string>): ConfigError => faultsIn(() => read(env))

t.test('an empty environment gives the defaults', async t => {
  const config = read({ REDIS_HOST: '', PORT: '' })
  t.match(config, { HOST: '127.0.0.1', PORT: 8090, LOG_LEVEL: 'info', LOG_LOGDY_PORT: 8233, JSON_MAX_DEPTH: 64 })
  t.same(redisOptions(config), { host: '127.0.0.1', port: 6379, db: 0 })
  t.equal(config.REDIS_KEY_PREFIX, '{cb}:')
})

t.test('texts become what the schema asks for', async t => {
  const config = read({ PORT: '0', REDIS_TLS: 'yes', REDIS_DB: '3', BODY_LIMIT_BYTES: '2048' })
  t.match(config, { PORT: 0, REDIS_TLS: true, REDIS_DB: 3, BODY_LIMIT_BYTES: 2048 })
  t.same(redisOptions(config).tls, {})
})

t.test('every fault is named at once with its variable, rule and what was given', async t => {
  const { message, faults } = faultsOf({
    PORT: '80.5',
    LOG_LEVEL: 'loud',
    REDIS_KEY_PREFIX: 'cb:',
    REDIS_TLS: 'perhaps',
    HOST: '0.0.0.0'
  })
  t.same(faults.map(fault => fault.name).sort(), ['AUTH_MODE', 'LOG_LEVEL', 'PORT', 'REDIS_KEY_PREFIX', 'REDIS_TLS'])
  t.match(message, /PORT: .*integer.*\(given: "80\.5"\)/)
  t.match(message, /LOG_LEVEL: must be one of trace, .*"loud"/)
  t.match(message, /REDIS_KEY_PREFIX: must contain one hash tag/)
  t.match(message, /AUTH_MODE: must be set because HOST "0\.0\.0\.0"/)
})

t.test('serving other machines without authentication has to be said', async t => {
  t.equal(read({ HOST: '0.0.0.0', AUTH_MODE: 'none' }).AUTH_MODE, 'none')
  t.equal(read({ HOST: '127.0.0.5' }).AUTH_MODE, undefined)
  t.match(faultsOf({ HOST: '127.evil.example' }).message, /AUTH_MODE/)
  t.equal(read({ HOST: '0.0.0.0', AUTH_MODE: 'keys' }).AUTH_MODE, 'keys')
  t.match(faultsOf({ AUTH_MODE: 'some' }).message, /must be keys or none/)
})

t.test('a password may hold any character in a variable, a file or an encoded URL', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'config-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'password')
  writeFileSync(file, `${password}\n`)
  t.equal(redisOptions(read({ REDIS_PASSWORD: password })).password, password)
  t.equal(redisOptions(read({ REDIS_PASSWORD_FILE: file })).password, password)
  const url = `rediss://me:${encodeURIComponent(password)}@redis.example:6380/2`
  t.same(redisOptions(read({ REDIS_URL: url })), {
    host: 'redis.example',
    port: 6380,
    db: 2,
    username: 'me',
    password,
    tls: {}
  })
  t.match(faultsOf({ REDIS_PASSWORD: 'a', REDIS_PASSWORD_FILE: file }).message, /set one of them/)
  t.match(faultsOf({ REDIS_PASSWORD_FILE: join(folder, 'none') }).message, /REDIS_PASSWORD_FILE: .*ENOENT/)
})

t.test('a URL that does not parse is never printed and the message says what to do', async t => {
  const urls = [
    `redis://:${password}@redis:6379/0`,
    'redis://user:12#34@redis:6379',
    'redis://user:12/34@redis:6379',
    'redis://user:1%zz@redis:6379',
    'http://redis:6379',
    'PAssWord'
  ]
  for (const url of urls) {
    const { message } = faultsOf({ REDIS_URL: url })
    t.match(message, /# is %23/)
    t.match(message, /use REDIS_PASSWORD/)
    t.ok(!/PAssWord|:12|1%zz/.test(message))
  }
  t.match(faultsOf({ REDIS_URL: 'redis://h', REDIS_PASSWORD: 'PAssWord' }).message, /REDIS_PASSWORD: is set together/)
})

t.test('a secret shows neither in JSON nor in inspection nor in a copy nor in a fault', async t => {
  const config = read({ REDIS_PASSWORD: 'canary-7' })
  t.equal(config.REDIS_PASSWORD, 'canary-7')
  for (const text of [JSON.stringify(config), inspect(config), JSON.stringify({ ...config }), String(config)]) {
    t.ok(!text.includes('canary'))
  }
  t.match(JSON.stringify(config), /"REDIS_PASSWORD":"\[redacted\]"/)
  const strict = Type.Object({ KEY: secretString({ minLength: 32 }), MUST: Type.String({ description: 'a name' }) })
  const { message } = faultsIn(() => readConfig(strict, { KEY: 'canary-8' }))
  t.ok(!message.includes('canary'))
  t.match(message, /KEY: must be string length.*the value given is not printed/)
  t.match(message, /MUST: must be set: a name/)
})

t.test('a store is a folder, S3, or each node for itself', async t => {
  const store = (env: Record<string, string>) => readConfig(Type.Object(storeConfig), env, [storeRule])
  t.same(configuredStore(store({})), { kind: 'folder', folder: 'outputs' })
  t.same(configuredStore(store({ OUTPUT_STORE: 'folder:/a:b' })), { kind: 'folder', folder: '/a:b' })
  t.same(configuredStore(store({ OUTPUT_STORE: 'node' })), { kind: 'node', folder: 'outputs' })
  t.same(configuredStore(store({ OUTPUT_STORE: 'node:/var/out' })), { kind: 'node', folder: '/var/out' })
  const minio = { OUTPUT_STORE: 's3', S3_BUCKET: 'pictures', S3_ACCESS_KEY: 'a', S3_SECRET_KEY: password }
  const credentials = { accessKeyId: 'a', secretAccessKey: password }
  const s3 = { bucket: 'pictures', region: 'us-east-1', credentials }
  t.same(configuredStore(store(minio)), { kind: 's3', s3 })
  const endpoints: [Record<string, string>, object][] = [
    [{ S3_ENDPOINT: 'minio:9000', S3_USE_SSL: 'false' }, { endpoint: 'http://minio:9000' }],
    [{ S3_ENDPOINT: 'minio:9000' }, { endpoint: 'https://minio:9000' }],
    [{ S3_ENDPOINT: 'http://minio:9000/' }, { endpoint: 'http://minio:9000' }],
    [
      { S3_ENDPOINT: 'http://minio:9000', S3_PUBLIC_ENDPOINT: 'https://s3.example.com', S3_REGION: 'eu-west-1' },
      { endpoint: 'http://minio:9000', publicEndpoint: 'https://s3.example.com', region: 'eu-west-1' }
    ]
  ]
  for (const [env, expected] of endpoints) t.same(s3Options(store({ ...minio, ...env })), { ...s3, ...expected })
  t.equal(s3Options(store({ S3_ENDPOINT: 'minio:9000' })), undefined)
  t.notMatch(JSON.stringify(store(minio)), 'PAssWord')

  const refused: [Record<string, string>, string[]][] = [
    [{ OUTPUT_STORE: 's3' }, ['S3_BUCKET']],
    [{ OUTPUT_STORE: 's4' }, ['OUTPUT_STORE']],
    [{ OUTPUT_STORE: 'folder:' }, ['OUTPUT_STORE']],
    [{ S3_ACCESS_KEY: 'a' }, ['S3_SECRET_KEY']],
    [{ S3_SECRET_KEY: 'a' }, ['S3_ACCESS_KEY']],
    [{ S3_BUCKET: 'No/Bucket' }, ['S3_BUCKET']],
    [{ S3_ENDPOINT: 'http://minio:9000', S3_USE_SSL: 'true' }, ['S3_ENDPOINT']],
    [
      { S3_ENDPOINT: 'https://minio:9000', S3_PUBLIC_ENDPOINT: 'https://x', S3_USE_SSL: 'no' },
      ['S3_ENDPOINT', 'S3_PUBLIC_ENDPOINT']
    ],
    [{ S3_ENDPOINT: 'http://minio:9000/bucket' }, ['S3_ENDPOINT']],
    [{ S3_ENDPOINT: 'http://a:b@minio:9000' }, ['S3_ENDPOINT']],
    [{ S3_ENDPOINT: 'ftp://minio' }, ['S3_ENDPOINT']],
    [{ S3_ENDPOINT: 'mi nio' }, ['S3_ENDPOINT']]
  ]
  for (const [env, names] of refused)
    t.same(
      faultsIn(() => store(env)).faults.map(fault => fault.name),
      names,
      JSON.stringify(env)
    )
})
