/* On the real Xen nobody watches: mock/watch.h is the other one. */
#ifndef WATCH_H
#define WATCH_H

#define watch_report(mmu, report) ((void)(mmu), (void)(report))
#define watch_refused(updates, behind) ((void)0)
#define watch_entered(mmu, error) ((void)0)
#define watch_leaves(mmu) ((void)0)
#define watch_left(mmu, error) ((void)0)
#define watch_paused(mmu, error) ((void)0)
#define watch_resumed(mmu, error) ((void)0)
#define watch_update(mmu, slot, pte) 0
#define watch_updates(mmu, slot, ptes, count) 0
#define watch_wrprotect(mmu, slot, count, requests) (*(requests) = 0, 0)
#define watch_zap(mmu, slot, count, requests) (*(requests) = 0, 0)
#define watch_flush_tlbs(mmu) 0
#define watch_answered(mmu, error, request, count) ((void)(request))
#define watch_read(mmu, slot, pte) ((void)0)
#define watch_seen(slot, pte) ((void)(slot))
#define watch_switches(mmu, root, stack) ((void)0)
#define watch_switched(mmu, number) ((void)0)
#define watch_exited(mmu) ((void)0)
#define watch_upper(mmu, slot, pte) 0
#define watch_attach(mmu, page, at, flags) ((void)(page), (void)(at), (void)(flags), 0)
#define watch_detach(mmu, page, at) ((void)(page), (void)(at), 0)
#define watch_validate(mmu, page, level) ((void)(page), (void)(level), 0)
#define watch_retire(mmu, page) ((void)(page), 0)

#endif
