import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { Agent, type Dispatcher } from 'undici'
import { WebSocket } from 'ws'

/** A prompt that has ended, and the ComfyUI that ran it. */
export type EndedPrompt = { readonly comfyUiUrl: string; readonly promptId: string }

/** Somebody who calls ComfyUI itself, as well as one can: a WebSocket that tells the end, then history, then the picture. */
export type DirectCaller = {
  /** Runs one workflow and resolves with the bytes of its first file. */
  readonly run: (prompt: object) => Promise<number>
  /** Runs one workflow and leaves its files there. */
  readonly finish: (prompt: object) => Promise<EndedPrompt>
  readonly close: () => Promise<void>
}

const deadlineMs = 30_000

type File = { readonly filename: string; readonly subfolder: string; readonly type: string }
type History = Record<string, { outputs: Record<string, { images?: File[] }> }>
type Ends = Map<string, (comfyUiUrl: string) => void>

/** Posts to `url` and listens to the ComfyUIs that may get the prompt: itself, or those behind it. */
export const createDirectCaller = async (
  url: string,
  comfyUiUrls: readonly string[] = [url]
): Promise<DirectCaller> => {
  const clientId = randomUUID()
  const agent = new Agent()
  const ends: Ends = new Map()
  const sockets = await Promise.all(comfyUiUrls.map(one => listen(one, clientId, ends)))

  const ended = (promptId: string): Promise<EndedPrompt> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('ComfyUI did not finish in time')), deadlineMs)
      ends.set(promptId, comfyUiUrl => {
        clearTimeout(timer)
        ends.delete(promptId)
        resolve({ comfyUiUrl, promptId })
      })
    })

  const finish = async (prompt: object): Promise<EndedPrompt> => {
    const promptId = randomUUID()
    const end = ended(promptId)
    await postJson(agent, url, '/prompt', { prompt, client_id: clientId, prompt_id: promptId })
    return end
  }

  return {
    finish,
    run: async prompt => fetchPicture(agent, await finish(prompt)),
    close: async () => {
      for (const socket of sockets) socket.terminate()
      await agent.destroy()
    }
  }
}

const listen = async (url: string, clientId: string, ends: Ends): Promise<WebSocket> => {
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/ws?clientId=${clientId}`)
  socket.on('message', (data, isBinary) => {
    if (isBinary) return
    const { type, data: body } = JSON.parse(String(data)) as { type: string; data: { node?: null; prompt_id?: string } }
    if (type === 'executing' && body.node === null && body.prompt_id) ends.get(body.prompt_id)?.(url)
  })
  await once(socket, 'open')
  return socket
}

/** Posts and answers what was answered; throws unless that is a 200. */
export const postJson = async (agent: Dispatcher, origin: string, path: string, body: object): Promise<unknown> => {
  const headers = { 'content-type': 'application/json' }
  const answer = await agent.request({ origin, path, method: 'POST', headers, body: JSON.stringify(body) })
  if (answer.statusCode !== 200) throw new Error(`${origin} answered ${answer.statusCode}: ${await answer.body.text()}`)
  return answer.body.json()
}

/** Resolves with the bytes of a prompt's first file. */
export const fetchPicture = async (agent: Dispatcher, { comfyUiUrl, promptId }: EndedPrompt): Promise<number> => {
  const get = (path: string) => agent.request({ origin: comfyUiUrl, path, method: 'GET' })
  const history = (await (await get(`/history/${promptId}`)).body.json()) as History
  const file = Object.values(history[promptId]?.outputs ?? {}).flatMap(output => output.images ?? [])[0]
  if (!file) throw new Error('ComfyUI gave no picture')
  const picture = await get(`/view?${new URLSearchParams({ ...file })}`)
  return (await picture.body.bytes()).byteLength
}
