import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { Pool } from 'undici'
import { WebSocket } from 'ws'

/** Somebody who calls ComfyUI itself, as well as one can: a WebSocket that tells the end, then history, then the picture. */
export type DirectCaller = {
  /** Runs one workflow and resolves with the bytes of its first file. */
  readonly run: (prompt: object) => Promise<number>
  readonly close: () => Promise<void>
}

const deadlineMs = 30_000

type File = { readonly filename: string; readonly subfolder: string; readonly type: string }
type History = Record<string, { outputs: Record<string, { images?: File[] }> }>

/** Connects to a ComfyUI. */
export const createDirectCaller = async (url: string): Promise<DirectCaller> => {
  const clientId = randomUUID()
  const pool = new Pool(url)
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/ws?clientId=${clientId}`)
  await once(socket, 'open')
  const ends = new Map<string, () => void>()
  socket.on('message', (data, isBinary) => {
    if (isBinary) return
    const { type, data: body } = JSON.parse(String(data)) as { type: string; data: { node?: null; prompt_id?: string } }
    if (type === 'executing' && body.node === null && body.prompt_id) ends.get(body.prompt_id)?.()
  })

  const ended = (promptId: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('ComfyUI did not finish in time')), deadlineMs)
      ends.set(promptId, () => {
        clearTimeout(timer)
        ends.delete(promptId)
        resolve()
      })
    })

  return {
    run: async prompt => {
      const promptId = randomUUID()
      const end = ended(promptId)
      const body = JSON.stringify({ prompt, client_id: clientId, prompt_id: promptId })
      const answer = await pool.request({ method: 'POST', path: '/prompt', body })
      if (answer.statusCode !== 200)
        throw new Error(`ComfyUI answered ${answer.statusCode}: ${await answer.body.text()}`)
      await answer.body.dump()
      await end
      const history = (await (
        await pool.request({ method: 'GET', path: `/history/${promptId}` })
      ).body.json()) as History
      const file = Object.values(history[promptId]?.outputs ?? {}).flatMap(output => output.images ?? [])[0]
      if (!file) throw new Error('ComfyUI gave no picture')
      const picture = await pool.request({ method: 'GET', path: `/view?${new URLSearchParams({ ...file })}` })
      return (await picture.body.bytes()).byteLength
    },
    close: async () => {
      socket.terminate()
      await pool.destroy()
    }
  }
}
