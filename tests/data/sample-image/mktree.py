#!/usr/bin/env python3
# Makes the sample root file system; run as root, argument: an empty folder.
import os, sys, hashlib, stat, socket, struct
root = os.fsencode(sys.argv[1])
T = 1700000000
def p(x):
    x = x if isinstance(x, bytes) else x.encode()
    return os.path.join(root, x)
def prng(n, seed=b"s"):
    out=b""; i=0
    while len(out)<n:
        out += hashlib.sha256(seed+str(i).encode()).digest(); i+=1
    return out[:n]
def d(x, mode=0o755, uid=0, gid=0):
    os.makedirs(p(x), exist_ok=True); os.chown(p(x),uid,gid); os.chmod(p(x),mode)
def f(x, data=b"", mode=0o644, uid=0, gid=0):
    if isinstance(data,str): data=data.encode()
    with open(p(x),"wb") as fp: fp.write(data)
    os.chown(p(x),uid,gid); os.chmod(p(x),mode)
def l(x, target, uid=0, gid=0):
    target = target if isinstance(target,bytes) else target.encode()
    os.symlink(target, p(x)); os.chown(p(x),uid,gid,follow_symlinks=False)
d("")
# kernels: generator insists on one; the older one is left out
for n in ("boot","boot/grub","boot/ota","etc","etc/netplan","usr","usr/bin","usr/lib","var","var/tmp","home","opt","opt/empty dir"): d(n)
d("var/tmp",0o1777)
for v in ("5.15.0-99-generic","5.15.0-100-generic"):
    for k in ("vmlinuz","initrd.img","System.map","config"):
        f(f"boot/{k}-{v}", f"{k} {v}\n", 0o600 if k in("vmlinuz","System.map") else 0o644)
l("boot/vmlinuz","vmlinuz-5.15.0-100-generic"); l("boot/initrd.img","initrd.img-5.15.0-100-generic")
f("boot/grub/grub.cfg","ignored by ignore.txt\n"); f("boot/ota/ecu_info.yaml","ignored by ignore.txt\n")
f("etc/hosts","127.0.0.1 localhost\n"); f("etc/hostname","sample\n")
f("etc/passwd","root:x:0:0:root:/root:/bin/bash\nautoware:x:1000:1000::/home/autoware:/bin/bash\n")
f("etc/group","root:x:0:\nautoware:x:1000:\n"); f("etc/shadow","root:*::0:99999:7:::\n",0o640,0,42)
f("etc/netplan/01-net.yaml","network: {version: 2}\n",0o600)
l("etc/resolv.conf","../run/systemd/resolve/stub-resolv.conf")
# special mode bits
f("usr/bin/suid",  b"#!/bin/sh\n# setuid\n",0o4755)
f("usr/bin/sgid",  b"#!/bin/sh\n# setgid\n",0o2755,0,5)
f("usr/bin/noperm",b"secret\n",0o000)
d("usr/lib/setgid-dir",0o2775,0,50)
# hardlinks: three names, one inode; and a pair of empty hardlinks
f("usr/bin/multi", prng(20000,b"multi"), 0o755)
os.link(p("usr/bin/multi"),p("usr/bin/multi-ls")); os.link(p("usr/bin/multi"),p("usr/bin/multi-cp"))
f("var/empty-a"); os.link(p("var/empty-a"),p("var/empty-b"))
# a hardlink whose other name is outside the image list (ignored dir): nlink 2, one line
f("var/half-linked","half\n"); os.link(p("var/half-linked"),p("boot/grub/half-linked"))
# same content, different inode/owner/mode
f("opt/dup1","same content\n",0o644); f("opt/dup2","same content\n",0o600,1000,1000)
f("opt/empty1"); f("opt/empty2","",0o600,1000,1000)
# compression boundaries (threshold 16384, ratio 1.25)
f("usr/lib/text-16383", (b"compressible line\n"*1000)[:16383])
f("usr/lib/text-16384", (b"compressible line\n"*1000)[:16384])
f("usr/lib/text-60000", (b"another compressible line\n"*4000)[:60000])
f("usr/lib/text-60000-copy", (b"another compressible line\n"*4000)[:60000],0o600)
f("usr/lib/random-32768", prng(32768,b"rnd"))
f("usr/lib/mixed-ratio-low", prng(32768,b"mix")+b"\0"*6000)      # about 1.18
f("usr/lib/mixed-ratio-ok", prng(24576,b"mix2")+b"\0"*9000)       # about 1.36
# sparse file
with open(p("usr/lib/sparse"),"wb") as fp: fp.truncate(200*1024); fp.seek(100*1024); fp.write(b"middle")
# xattr + capability (dropped by the format)
f("usr/bin/with-cap", b"#!/bin/sh\n# cap\n",0o755)
for name,val in ((b"user.test",b"hello"),(b"security.capability",bytes.fromhex("0100000200040000000000000000000000000000"))):
    try: os.setxattr(p("usr/bin/with-cap"),name,val)
    except OSError as e: print("xattr",name,e)
# special files (left out by the format)
os.mkfifo(p("var/a-fifo"),0o644)
for nm,typ,dev in (("var/a-chardev",stat.S_IFCHR,os.makedev(1,3)),("var/a-blockdev",stat.S_IFBLK,os.makedev(7,0)),("var/whiteout",stat.S_IFCHR,0)):
    try: os.mknod(p(nm),0o666|typ,dev)
    except OSError as e: print("mknod",nm,e)
s=socket.socket(socket.AF_UNIX)
cwd=os.getcwd(); os.chdir(p("var")); s.bind("a-socket"); os.chdir(cwd)
# odd names
H="home/user name"
d(H,0o750,1000,1000)
odd=["it's a quote.txt","'","''","starts'","'ends","'\\''","comma,name.txt","a','b","',","double\"quote","back\\slash","trailing space ",
 " leading space","tab\there","日本語ファイル.txt","e\u0301-nfd","\u00e9-nfc","emoji-😀","percent%20and%41","hash#frag","question?query=1&x=2","plus+plus","semi;colon","at@colon:eq=",
 "tilde~bang!star*(paren)[br]{cur}|pipe^caret`tick$dollar","-dash",".hidden","...","x,0,0,1,deadbeef,'y',3,,zst","path;adf.ae?qu.er\\y=str#fragファイルement"]
for i,n in enumerate(odd): f(H+"/"+n, f"odd {i:02d}\n",0o644,1000,1000)
d(H+"/dir's, \"odd\"",0o700,1000,1000); f(H+"/dir's, \"odd\"/inner",b"inner\n",0o644,1000,1000)
L=H+"/links"; d(L,0o755,1000,1000)
l(L+"/plain","../comma,name.txt",1000,1000); l(L+"/abs","/etc/hosts",1000,1000); l(L+"/dangling","/no/such"); l(L+"/to-dir","../../user name",1000,1000)
l(L+"/link's","target's"); l(L+"/target-has-sep","a','b"); l(L+"/target-commaquote-end","x,'"); l(L+"/sp ace","with space, comma"); l(L+"/loop","loop")
l(L+"/'quote-first","'q"); l(L+"/uni-リンク","../日本語ファイル.txt"); l(L+"/trailing slash","/etc/netplan/")
if len(sys.argv)>2 and sys.argv[2]=="edge":
    l(L+"/ends-with-quote'","t"); l(L+"/target-starts-commaquote",",'x")
# fixed times, children first
for dp,dn,fn in os.walk(root,topdown=False):
    for n in fn+dn+[b""]:
        os.utime(os.path.join(dp,n) if n else dp,(T,T),follow_symlinks=False)
