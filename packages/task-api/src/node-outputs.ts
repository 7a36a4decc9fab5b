import type { Readable } from 'node:stream'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import { Agent, request } from 'undici'
import type { WantedOutput } from './output-source.ts'

/** Outputs that nodes keep for themselves. */
export type NodeOutputs = {
  /** Streams one from its node; undefined while the node is away or does not have it. */
  open(wanted: WantedOutput): Promise<Readable | undefined>
  close(): Promise<void>
}

/** Sent with a request that has been passed on already. */
export const passedOnHeader = 'comfy-balancer-passed-on'

const connectMs = 2_000
const headersMs = 10_000
const idleMs = 60_000

/** Reads outputs from the nodes that keep them, as their own API hands them out. */
export const createNodeOutputs = ({ nodes }: Pick<Ledger, 'nodes'>, log: Log): NodeOutputs => {
  const agent = new Agent({ connect: { timeout: connectMs }, headersTimeout: headersMs, bodyTimeout: idleMs })

  const ask = async (url: string, { record, output, range, authorization }: WantedOutput) => {
    const address = new URL(`/api/v1/tasks/${record.id}/outputs/${output.attempt}-${output.index}`, url)
    const headers = {
      [passedOnHeader]: '1',
      ...(authorization === undefined ? {} : { authorization }),
      ...(range === undefined ? {} : { range: `bytes=${range.start}-${range.end}` })
    }
    const { statusCode, body } = await request(address, { dispatcher: agent, headers })
    if (statusCode === (range === undefined ? 200 : 206)) return body
    await body.dump()
    throw new Error(`the node answered ${statusCode}`)
  }

  return {
    async open(wanted) {
      const { id, node } = wanted.record
      const url = node === undefined ? undefined : (await nodes.find(node))?.url
      if (url === undefined) return undefined
      try {
        return await ask(url, wanted)
      } catch (err) {
        log.warn({ err, taskId: id, nodeId: node }, 'output not read from its node')
        return undefined
      }
    },
    close: () => agent.destroy()
  }
}
