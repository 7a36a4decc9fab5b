import { parentPort, workerData } from 'node:worker_threads'
import { CallWrapper, ComfyApi, ComfyPool, EQueueMode, type NodeData, PromptBuilder } from '@saintno/comfyui-sdk'
import type { PoolAnswer, PoolRequest } from './comfy-pool.ts'
import { pictureNode, type Workflow } from './picture.ts'

type Image = Parameters<ComfyApi['getImage']>[0]

/** As the peer's README does it; resolves with the number of the picture's bytes. */
const paint = async (api: ComfyApi, prompt: Workflow): Promise<number> => {
  const workflow = new PromptBuilder(prompt as NodeData, [], ['picture']).setRawOutputNode('picture', pictureNode)
  const image = await new Promise<Image | undefined>((resolve, reject) => {
    new CallWrapper(api, workflow)
      .onFinished(({ picture }) => resolve((picture as { images?: Image[] }).images?.[0]))
      .onFailed(reject)
      .run()
      .catch(reject)
  })
  return image ? (await api.getImage(image)).size : 0
}

const urls = workerData as string[]
const pool = new ComfyPool(urls.map(url => new ComfyApi(url)))
let ready = 0
pool.on('ready', () => {
  if (++ready === urls.length) parentPort?.postMessage('ready')
})

/** The package leaves failed looks at the queue to nobody, which ends the program of whoever uses it; here it would end the measurement. */
process.on('unhandledRejection', () => undefined)

parentPort?.on('message', async ({ id, mode, prompt }: PoolRequest) => {
  pool.changeMode(EQueueMode[mode])
  const answer: PoolAnswer = await pool
    .run(api => paint(api, prompt))
    .then(
      bytes => ({ id, bytes }),
      (error: unknown) => ({ id, error: String(error) })
    )
  parentPort?.postMessage(answer)
})
