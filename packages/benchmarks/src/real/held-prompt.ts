/**
 * A program that makes a ComfyUI synchronous for a proxy that counts connections: `POST /prompt` is answered when the prompt has ended.
 * The files are fetched from ComfyUI itself afterwards, so that they hold up nobody.
 */
import { fastify } from 'fastify'
import { createDirectCaller } from '../direct-caller.ts'

const [comfyUiUrl = ''] = process.argv.slice(2)
const caller = await createDirectCaller(comfyUiUrl)
const app = fastify()
app.post<{ Body: { prompt: Record<string, unknown> } }>('/prompt', async request => caller.finish(request.body.prompt))
process.stdout.write(`listening ${await app.listen({ host: '127.0.0.1', port: 0 })}\n`)
