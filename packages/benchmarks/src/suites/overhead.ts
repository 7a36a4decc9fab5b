import { onFleet } from '../on-fleet.ts'
import { measureOverhead, overheadTable } from '../overhead.ts'

/** `npm run bench -- overhead [steady rounds]`; COMFYUI_URLS measures against a real ComfyUI instead of the simulator. */
export const overhead = async (rounds: number): Promise<void> => {
  const real = process.env.COMFYUI_URLS?.split(',').slice(0, 1)
  const backend = real ? { comfyUiUrls: real } : { simulators: [{ speed: 1 }], timeScale: 0.01 }
  await onFleet({ ...backend, env: { AUTH_MODE: 'none' } }, async fleet => {
    const table = overheadTable(await measureOverhead(fleet, rounds))
    const title = `Sequential trivial tasks, one of each way in turn, ${rounds} once all is warm, one ${real ? 'real' : 'simulated'} ComfyUI, Node ${process.version}`
    return { name: real ? 'overhead-real' : 'overhead', text: `${title}\n\n${table}\n\n${overheadNote}` }
  })
}

const overheadNote = [
  'A prompt straight to ComfyUI is a stranger to comfy-service, which gives its node to nobody until that prompt is seen to be gone: hence the',
  'p95 of the way that comes next in turn. In the first seconds after a start V8 has not compiled yet what runs often.'
].join('\n')
