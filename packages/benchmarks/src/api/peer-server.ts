/**
 * What `POST /api/v1/generate` is measured against, as a program of its own: `hello` is Fastify that answers a constant, `scripted` is
 * Fastify that validates the request against our schema and writes five keys with one script, which is the least that makes it durable.
 * Both answer `GET` too, `scripted` with what one read of Redis gives.
 */
import { randomUUID } from 'node:crypto'
import { GenerateRequest } from '@comfy-balancer/contract/generate'
import { schemas } from '@comfy-balancer/contract/schemas'
import { fastify } from 'fastify'
import { Redis } from 'ioredis'

const [mode, redisUrl = '', prefix = ''] = process.argv.slice(2)
const app = fastify({ ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: true } } })
const hello = { id: 'task_00000000000000000000000000000000', state: 'queued' }

if (mode === 'hello') {
  app.post('/', async (_request, reply) => reply.code(202).send(hello))
  app.get('/:id', async () => hello)
} else {
  const redis = new Redis(redisUrl)
  redis.defineCommand('accept', {
    numberOfKeys: 1,
    lua: `
      local p, id, body = KEYS[1], ARGV[1], ARGV[2]
      redis.call('HSET', p .. 'task:' .. id, 'state', 'queued', 'tenant', 'default', 'version', 1)
      redis.call('SET', p .. 'body:' .. id, body)
      redis.call('ZADD', p .. 'queue', 0, id)
      redis.call('ZADD', p .. 'tasks', 0, id)
      redis.call('RPUSH', p .. 'journal:' .. id, 'queued')
      return id`
  })
  const accept = (redis as unknown as { accept: (...args: string[]) => Promise<string> }).accept.bind(redis)
  for (const schema of schemas) app.addSchema(schema)
  app.post('/', { schema: { body: GenerateRequest } }, async (request, reply) => {
    const id = `task_${randomUUID()}`
    await accept(prefix, id, JSON.stringify(request.body))
    return reply.code(202).send({ ...hello, id })
  })
  app.get<{ Params: { id: string } }>('/:id', async request => {
    const task = await redis.hgetall(`${prefix}task:${request.params.id}`)
    return { ...hello, ...task }
  })
}

process.stdout.write(`listening ${await app.listen({ host: '127.0.0.1', port: 0 })}\n`)
