import { balancerDeathTable, hasLoss, measureBalancerDeath } from '../balancer-death.ts'
import { failoverTable, measureFailover } from '../failover.ts'
import { onRig } from '../on-rig.ts'

/** `npm run bench -- failover [times]`: how soon another node has the task of one that died, and what a balancer's death costs. */
export const failover = async (times: number): Promise<void> =>
  onRig(4, async rig => {
    const nodes = failoverTable(await measureFailover(rig, times))
    const deaths = await measureBalancerDeath(rig)
    const text = [
      `From the blow to the dispatch of the node's task to another one, ${times} of each in turn; 4 simulated GPUs, 2 balancers, times as shipped, Node ${process.version}`,
      nodes,
      'One of two balancers dies (kill -9) while tasks wait and run; each prompt that ran inside ComfyUI is counted',
      balancerDeathTable(deaths)
    ]
    return { name: 'failover', text: text.join('\n\n'), isLoss: deaths.some(hasLoss) }
  })
