import type { Reply } from '../http/reply.ts'
import type { Request } from '../http/request.ts'
import type { Handler, Route } from '../http/router.ts'
import { isObject } from '../json/python-json.ts'
import { SocketHub } from '../ws/socket-hub.ts'

/**
 * Ways to be unlike ComfyUI, each made where answers and messages leave the simulator. Only the conformance uses them, to prove that it
 * would notice: the last message of a prompt is missing, refusals name a wrong error type, the history has a prompt only after its
 * last message, results go to everybody, and an interrupt stops whatever runs.
 */
export const deviationNames = [
  'no-terminal-executing',
  'wrong-error-type',
  'late-history',
  'broadcast-to-wrong-client',
  'interrupt-hits-wrong-prompt'
] as const

/** The name of a deviation. */
export type DeviationName = (typeof deviationNames)[number]

/** The hub's class for a deviation; the ordinary one without. */
export function hubClass(deviation: DeviationName | undefined): typeof SocketHub {
  if (deviation === 'no-terminal-executing') return HubWithoutEnd
  return deviation === 'broadcast-to-wrong-client' ? BroadcastingHub : SocketHub
}

/** The routes under a deviation; unchanged without. */
export function deviating(routes: Route[], deviation: DeviationName | undefined): Route[] {
  const change = (method: string, path: string, changed: (handler: Handler) => Handler): Route[] =>
    routes.map(route => (route[0] === method && route[1] === path ? [method, path, changed(route[2])] : route))
  if (deviation === 'wrong-error-type') return change('POST', '/prompt', wronglyTyped)
  if (deviation === 'late-history') return change('GET', '/history/{}', firstTimeEmpty)
  return deviation === 'interrupt-hits-wrong-prompt' ? change('POST', '/interrupt', withoutId) : routes
}

class HubWithoutEnd extends SocketHub {
  override toClient(type: string, data: unknown): void {
    const isEnd = type === 'executing' && isObject(data) && data.node === null
    if (!isEnd) super.toClient(type, data)
  }
}

class BroadcastingHub extends SocketHub {
  override toClient(type: string, data: unknown): void {
    if (type === 'executed') this.toAll(type, data)
    else super.toClient(type, data)
  }
}

function wronglyTyped(handler: Handler): Handler {
  return async request => {
    const reply = await handler(request)
    return { ...reply, ...withText(reply, text => text.replaceAll('value_not_in_list', 'value_bigger_than_max')) }
  }
}

function firstTimeEmpty(handler: Handler): Handler {
  const asked = new Set<string>()
  return async request => {
    const reply = await handler(request)
    const isFirst = (reply.body?.length ?? 0) > '{}'.length && !asked.has(request.path)
    if (isFirst) asked.add(request.path)
    return isFirst ? { ...reply, ...withText(reply, () => '{}') } : reply
  }
}

function withoutId(handler: Handler): Handler {
  return (request: Request) => handler({ ...request, json: async () => ({}) })
}

function withText(reply: Reply, change: (text: string) => string): Pick<Reply, 'body'> {
  return reply.body ? { body: Buffer.from(change(reply.body.toString('utf8'))) } : {}
}
