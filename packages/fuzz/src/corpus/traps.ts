import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TrapPorts } from './hostile-urls.ts'

/** Two servers of this machine: one that nobody may be led to, and one that is allowed and leads there. */
export type Traps = TrapPorts & {
  /** What the victim was asked. */
  readonly caught: readonly string[]
  /** What the helper was asked: that the traps were sprung at all. */
  readonly visited: readonly string[]
  /** What the services have to be told so that only the victim's address speaks against it. */
  readonly env: Readonly<Record<string, string>>
  readonly close: () => Promise<void>
}

const helperAddress = '127.0.0.2'

export const openTraps = async (): Promise<Traps> => {
  const [caught, visited]: [string[], string[]] = [[], []]
  const victim = await listen('127.0.0.1', (request, reply) => {
    caught.push(`${request.headers.host}${request.url}`)
    reply.end('only this machine may read it')
  })
  const ways = waysAstray(portOf(victim))
  const helper = await listen(helperAddress, (request, reply) => {
    const path = request.url?.slice(1) ?? ''
    visited.push(path)
    const location = ways[path]
    if (location === undefined) return reply.writeHead(404).end()
    return reply.writeHead(Number(path) || 302, { location }).end()
  })
  const [victimPort, helperPort] = [portOf(victim), portOf(helper)]
  const env = {
    EGRESS_ALLOW_PRIVATE_CIDRS: `${helperAddress}/32`,
    EGRESS_PORTS_ALLOW: `80,443,${victimPort},${helperPort}`,
    NODE_OPTIONS: `--import ${new URL('./false-names.js', import.meta.url).href}`
  }
  const close = async () => {
    await Promise.all([victim, helper].map(end))
  }
  return { victimPort, helperPort, caught, visited, env, close }
}

/** Where the helper sends those who ask for each path. */
const waysAstray = (victimPort: number): Readonly<Record<string, string>> => {
  const secret = `http://127.0.0.1:${victimPort}/secret`
  return {
    ...{ '301': secret, '302': secret, '307': secret, '308': `http://[::ffff:127.0.0.1]:${victimPort}/secret` },
    octal: `http://0177.0.0.1:${victimPort}/secret`,
    userinfo: `http://pictures.example@127.0.0.1:${victimPort}/secret`,
    file: 'file:///etc/passwd',
    port: `http://${helperAddress}:6379/`,
    chain: '/302',
    turn: '/secret'
  }
}

const listen = async (host: string, answer: RequestListener): Promise<Server> => {
  const server = createServer(answer)
  server.listen(0, host)
  await once(server, 'listening')
  return server
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port

const end = async (server: Server): Promise<void> => {
  server.closeAllConnections()
  server.close()
  await once(server, 'close')
}
